import * as v from 'valibot';

/** The winner of a class of shapes; times in seconds per product. */
export interface Tuning {
  readonly variant: string;
  /** Of all variants that there were: `kernelVersion`. */
  readonly kernels: string;
  readonly mode: 'quick' | 'full';
  /** False where the time ran out before the winner was certain. */
  readonly clear: boolean;
  /** Contests that were held in this mode among these kernels, each going on from the one before. */
  readonly contests: number;
  /** Of one product, by variant that was timed. */
  readonly seconds: Readonly<Record<string, number>>;
}

/** The same, as a file has it. */
export const TuningSchema = v.object({
  variant: v.string(),
  kernels: v.string(),
  mode: v.picklist(['quick', 'full']),
  clear: v.boolean(),
  contests: v.optional(v.number(), 1),
  seconds: v.record(v.string(), v.number()),
}) satisfies v.GenericSchema<unknown, Tuning>;

/** By class. */
export type Tunings = ReadonlyMap<string, Tuning>;

/** Where a tuner keeps what it finds. A store that fails is as good as none: it throws nothing. */
export interface TuningStore {
  /** What may change how fast kernels are besides the device: the browser, or Node and Dawn, with their versions. */
  readonly environment: string;
  /** What was saved for a device, by class; empty where there is nothing, or it can't be read. */
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
