import type { RecordSpan, Stage } from './timeline.ts';

/** Items between the start of their reading and the end of their writing: one for each stage. */
export const PIPELINE_DEPTH = 3;

/** What happens to an item; every stage takes the items in their order, one at a time. */
export interface Stages<Item, Read, Computed> {
  /** @param signal fires when another stage failed or the caller cancelled */
  read(item: Item, signal: AbortSignal): Promise<Read>;
  compute(item: Item, read: Read, signal: AbortSignal): Promise<Computed>;
  write(item: Item, computed: Computed): Promise<void>;
}

export interface PipelineOptions {
  readonly signal?: AbortSignal;
  /** Told about each stage of each item. */
  readonly record?: RecordSpan;
  /** What spans call an item. */
  readonly nameOf?: (index: number) => string;
}

/**
 * Runs the three stages side by side, on different items. At most `PIPELINE_DEPTH` items are between the start of their reading
 * and the end of their writing, so what is held does not grow with their number. Settles when no stage is at work any more.
 * @throws the first error of any stage, after which none begins; the reason of `signal`
 */
export async function runPipeline<Item, Read, Computed>(
  items: readonly Item[],
  stages: Stages<Item, Read, Computed>,
  { signal, record, nameOf = String }: PipelineOptions = {},
): Promise<void> {
  const stop = new AbortController();
  const stopped = signal ? AbortSignal.any([signal, stop.signal]) : stop.signal;
  let failure: { readonly error: unknown } | undefined;
  const run = async <T>(stage: Stage, index: number, work: () => Promise<T>): Promise<T> => {
    try {
      stopped.throwIfAborted();
      const start = performance.now();
      const result = await work();
      record?.(stage, nameOf(index), start, performance.now());
      return result;
    } catch (error) {
      // The others fail because this one did: theirs says nothing.
      failure ??= { error };
      stop.abort(error);
      throw error;
    }
  };
  // Each is the last item's turn in a stage, without its result, which would stay in memory with it.
  let reading: Promise<unknown> = Promise.resolve();
  let computing: Promise<unknown> = Promise.resolve();
  let writing: Promise<unknown> = Promise.resolve();
  const inFlight: Promise<void>[] = [];
  for (const [index, item] of items.entries()) {
    if (inFlight.length === PIPELINE_DEPTH) await inFlight.shift();
    if (failure || stopped.aborted) break;
    const read = reading.then(() => run('read', index, () => stages.read(item, stopped)));
    const computed = settled(computing, read).then((input) =>
      run('compute', index, () => stages.compute(item, input, stopped)),
    );
    const written = settled(writing, computed).then((output) => run('write', index, () => stages.write(item, output)));
    reading = quiet(read);
    computing = quiet(computed);
    writing = quiet(written);
    inFlight.push(quiet(written));
  }
  await Promise.all([reading, computing, writing]);
  if (failure) throw (failure as { readonly error: unknown }).error;
  signal?.throwIfAborted();
}

/** The result of `next`, once `previous` is over too: also where `next` fails first, or the last turn of a stage would seem over too early. */
async function settled<T>(previous: Promise<unknown>, next: Promise<T>): Promise<T> {
  await Promise.allSettled([previous, next]);
  return next;
}

/** The end of `work`, however it ends: its failure is noted where it happens. */
const quiet = (work: Promise<unknown>): Promise<void> =>
  work.then(
    () => undefined,
    () => undefined,
  );
