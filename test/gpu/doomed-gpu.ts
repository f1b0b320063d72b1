/** What changes the state of a device: the moments between which it can be lost. */
const DEVICE_CALLS = ['createBuffer', 'createComputePipelineAsync', 'createBindGroup', 'createCommandEncoder'] as const;
const QUEUE_CALLS = ['submit', 'writeBuffer', 'onSubmittedWorkDone'] as const;

// biome-ignore lint/suspicious/noExplicitAny: methods of every kind are wrapped alike
type Method = (...given: any[]) => unknown;

/** Seeded numbers from 0 to 1 (xorshift). */
export function seeded(seed: number): () => number {
  let state = (seed * 2654435761) >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

/**
 * Destroys the device of `gpu` at its call number `moment`: just after it where `after`, so that work is pending, else just before.
 * @returns how many calls there were
 */
export function doom(
  gpu: { readonly device: GPUDevice },
  moment = Number.POSITIVE_INFINITY,
  after = false,
): () => number {
  let calls = 0;
  const wrap = (owner: object, name: string): void => {
    const original = Reflect.get(owner, name) as Method;
    const wrapped: Method = (...given) => {
      const now = calls++ === moment;
      if (now && !after) gpu.device.destroy();
      const result = original.apply(owner, given);
      if (now && after) gpu.device.destroy();
      return result;
    };
    Object.defineProperty(owner, name, { value: wrapped, configurable: true });
  };
  for (const name of DEVICE_CALLS) wrap(gpu.device, name);
  for (const name of QUEUE_CALLS) wrap(gpu.device.queue, name);
  return () => calls;
}

/** What became of some work: the name of its error, `done`, or `hung` where it did not end in `ms` milliseconds. */
export async function outcomeOf(work: Promise<unknown>, ms: number): Promise<string> {
  let timer: NodeJS.Timeout | undefined;
  const hung = new Promise<string>((resolve) => {
    timer = setTimeout(resolve, ms, 'hung');
  });
  const ended = work.then(
    () => 'done',
    (error: unknown) => (error instanceof Error ? error.name : String(error)),
  );
  const outcome = await Promise.race([ended, hung]);
  clearTimeout(timer);
  return outcome;
}
