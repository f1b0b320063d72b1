import * as v from 'valibot';

/** What was found for one class of shapes. */
export const TuningSchema = v.object({
  variant: v.string(),
  /** Of all variants that there were: `kernelVersion`. */
  kernels: v.string(),
  mode: v.picklist(['quick', 'full']),
  /** False where the time ran out before the winner was certain. */
  clear: v.boolean(),
  /** Contests that were held in this mode among these kernels, each going on from the one before. */
  contests: v.optional(v.number(), 1),
  /** Of one product, by variant that was timed. */
  seconds: v.record(v.string(), v.number()),
});

export type Tuning = Readonly<v.InferOutput<typeof TuningSchema>>;

/** By class. */
export type Tunings = ReadonlyMap<string, Tuning>;

/** Where a tuner keeps what it finds. A store that fails is as good as none: it throws nothing. */
export interface TuningStore {
  /** What may change how fast kernels are besides the device: the browser, or Node and Dawn, with their versions. */
  readonly environment: string;
  load(device: string): Promise<Tunings>;
  /** Adds to what is there, over what has the same name. */
  save(device: string, tunings: Tunings): Promise<void>;
}

/** Of what is kept for a device, whatever is well formed. */
export function readTunings(value: unknown): Map<string, Tuning> {
  const found = new Map<string, Tuning>();
  if (typeof value !== 'object' || value === null) return found;
  for (const [key, one] of Object.entries(value)) {
    const parsed = v.safeParse(TuningSchema, one);
    if (parsed.success) found.set(key, parsed.output);
  }
  return found;
}

/** Keeps what it is told as long as it lives. */
export function memoryTuningStore(environment = 'memory'): TuningStore {
  const devices = new Map<string, Map<string, Tuning>>();
  return {
    environment,
    load: async (device) => new Map(devices.get(device)),
    save: async (device, tunings) => {
      devices.set(device, new Map([...(devices.get(device) ?? []), ...tunings]));
    },
  };
}
