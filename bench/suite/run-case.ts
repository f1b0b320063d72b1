import { CancelledError } from '../../src/errors.ts';
import type { Contestant, OutputReference, Prepared } from './contestant.ts';
import { figuresOf, roundedRatio } from './figures.ts';
import { driftOf, type MethodOptions, timePreparations } from './method.ts';
import { OURS } from './names.ts';
import type { Bench, BenchCase } from './results-schema.ts';
import { pairedRatio } from './statistics.ts';
import type { Case, OpenCase, SuiteContext } from './suite.ts';

type Failure = Bench['failures'][number];

interface Ready {
  readonly contestant: Contestant;
  /** Undefined between one preparation and the next, and where the next failed. */
  prepared: Prepared | undefined;
  readonly traffic: Prepared['traffic'];
  readonly note: string;
  readonly error: number | null;
}

/**
 * Makes the data of a case, holds every contestant to the reference, and times those that passed. One that fails becomes a failure, and the others go on;
 * `cause` is what the first one threw.
 * @throws CancelledError, DeviceLostError
 */
export async function runCase(
  one: Case,
  context: SuiteContext,
  method: MethodOptions,
): Promise<{ readonly result?: BenchCase; readonly failures: Failure[]; readonly cause?: unknown }> {
  const failures: Failure[] = [];
  let cause: unknown;
  const add = (contestant: string | null, error: unknown) => {
    cause ??= error;
    failures.push({ suite: one.suite, name: one.name, contestant, message: messageOf(error) });
  };
  const failed = (contestant: string | null, error: unknown) => {
    if (context.signal?.aborted) throw new CancelledError('The benchmark');
    context.gpu.throwIfLost();
    add(contestant, error);
  };
  /** What can't be released fails, and nothing else does. */
  const release = async (contestant: string | null, held: Pick<Prepared, 'release'> | undefined) => {
    try {
      await held?.release();
    } catch (error) {
      add(contestant, error);
    }
  };
  const ready: Ready[] = [];
  /** What was prepared goes, lies elsewhere when it comes again, and is held to the reference again; false where one failed. */
  const prepareAnew = async ({ work, reference }: OpenCase) => {
    for (const one of ready) {
      await release(one.contestant.name, one.prepared);
      one.prepared = undefined;
    }
    context.gpu.memory.trim();
    for (const one of ready) {
      if (context.signal?.aborted) throw new CancelledError('The benchmark');
      let prepared: Prepared | undefined;
      try {
        prepared = await one.contestant.prepare(work);
        if (!prepared) throw new Error('It could be prepared once, and not again.');
        await errorOf(prepared, reference);
        one.prepared = prepared;
      } catch (error) {
        await release(one.contestant.name, prepared);
        failed(one.contestant.name, error);
      }
    }
    return ready.every(({ prepared }) => prepared);
  };
  let opened: OpenCase | undefined;
  try {
    opened = await one.open(context);
    for (const contestant of [...opened.contestants, ...context.peers]) {
      if (context.signal?.aborted) throw new CancelledError('The benchmark');
      let prepared: Prepared | undefined;
      try {
        prepared = await contestant.prepare(opened.work);
        if (!prepared) continue;
        const error = await errorOf(prepared, opened.reference);
        const { traffic, note = contestant.note } = prepared;
        ready.push({ contestant, prepared, traffic, note, error });
      } catch (error) {
        await release(contestant.name, prepared);
        failed(contestant.name, error);
      }
    }
    if (ready.length === 0) return { failures, cause };
    const whole = opened;
    const timing = await timePreparations(
      async (time) => (time === 0 || (await prepareAnew(whole)) ? ready.map(({ prepared }) => prepared!) : undefined),
      method,
    );
    const { count } = opened.work;
    // Who failed when it was prepared again has no figure; what was timed of the others until then counts.
    const stood = ready.filter(({ prepared }) => prepared);
    if (stood.length === 0) return { failures, cause };
    const samples = timing.seconds.flatMap((rounds, i) =>
      ready[i]!.prepared ? [rounds.map((seconds) => seconds / count)] : [],
    );
    const at = Math.max(
      0,
      stood.findIndex(({ contestant }) => contestant.name === one.baseline),
    );
    const contestants = stood.map(({ contestant: { name }, traffic, note, error }, i) =>
      figuresOf(
        one,
        { ...one, ...traffic },
        { name, note, error, samples: samples[i]! },
        i === at ? undefined : samples[at],
        context.roofline,
      ),
    );
    const ours = stood.findIndex(({ contestant }) => contestant.name === OURS);
    const overPeers = stood.flatMap(({ contestant }, i) =>
      ours < 0 || !context.peers.includes(contestant)
        ? []
        : [{ peer: contestant.name, ...roundedRatio(pairedRatio(samples[i]!, samples[ours]!)) }],
    );
    const [before, after] = timing.anchor;
    const result: BenchCase = {
      suite: one.suite,
      name: one.name,
      dimensions: { ...one.dimensions },
      bytes: one.bytes ?? null,
      operations: one.operations ?? null,
      arithmetic: one.arithmetic ?? 'f32',
      items: one.items ?? null,
      baseline: stood[at]!.contestant.name,
      contestants,
      overPeers,
      anchor: { before, after, attempts: timing.attempts, steady: driftOf(timing.anchor) <= method.mostDrift },
    };
    return { result, failures, cause };
  } catch (error) {
    if (error instanceof CancelledError) throw error;
    failed(null, error);
    return { failures, cause };
  } finally {
    for (const { contestant, prepared } of ready) await release(contestant.name, prepared);
    await release(null, opened);
    context.gpu.memory.trim();
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** The error of what a contestant makes, before it is timed. @throws Error where it is larger than rounding explains */
async function errorOf(prepared: Prepared, usual: OutputReference | undefined): Promise<number | null> {
  const reference = prepared.reference ?? usual;
  if (!reference || !prepared.check) return null;
  const tolerance = prepared.tolerance ?? reference.tolerance;
  const error = await reference.error(await prepared.check());
  if (error <= tolerance) return error;
  throw new Error(`wrong: the relative error is ${error}; at most ${tolerance} is rounding. It was not timed.`);
}
