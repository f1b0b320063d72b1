import { checkCancelled } from '../files/cancel.ts';
import type { Checkpoint } from '../files/checkpoint.ts';
import type { Gpu } from '../gpu/gpu.ts';
import type { BlockPlan } from './block-plan.ts';
import type { TokenScore } from './combine-scores.ts';
import { KernelCheck } from './kernel-check.ts';
import type { Notes } from './notes.ts';
import { ReferenceBlocks } from './reference-blocks.ts';
import type { Report } from './report-schema.ts';
import { blockName, runBlocks } from './run-blocks.ts';
import { type ScoreJob, scoreHeads } from './score-heads.ts';
import { type ControlMaker, shuffledRows } from './shuffle-control.ts';
import type { BeginStage } from './stages.ts';
import { StreamState } from './stream-state.ts';
import type { Stream } from './streams.ts';
import { increaseInterval, LogitsError, summarizeScores, throwIfNonFinite } from './summarize-scores.ts';

type AccuracyReport = NonNullable<Report['accuracy']>;

export interface AccuracyArguments {
  readonly gpu: Gpu;
  readonly checkpoints: { readonly original: Checkpoint; readonly compressed: Checkpoint };
  readonly blocks: BlockPlan;
  /** Default: rows in a random order. */
  readonly control?: ControlMaker;
  readonly notes: Notes;
  readonly begin: BeginStage;
}

export interface AccuracyResult {
  /** Null where the kernel check found values that are not finite. */
  readonly accuracy: AccuracyReport | null;
  /** Undefined where one model is scored; null where the check failed. */
  readonly kernels?: Report['kernels'];
  /** The control's perplexity divided by the original's on the same tokens; null where it was not measured. */
  readonly controlRatio?: number | null;
  /** Logits that are no numbers, at the first token that has such. */
  readonly badLogits?: number;
}

/**
 * Takes all streams of a plan through the blocks, scores them, and holds the compressed model's values to the f64 reference. Where a control, a
 * layer's sensitivity or the check of the kernels fails, that is left out, with a note; so is the accuracy where a model gives logits that are
 * no numbers.
 * @throws FileError, CancelledError, OutOfMemoryError, DeviceLostError
 */
export async function measureAccuracy(args: AccuracyArguments): Promise<AccuracyResult> {
  const { gpu, checkpoints, blocks, notes, begin, control = shuffledRows } = args;
  const { streams, passes, slices } = blocks;
  const total = runsOf(blocks);
  const first = passes[0]!;
  const { signal, onProgress } = begin(
    'accuracy',
    'windows in blocks',
    total,
    blockName(first.graph, first.segments[0]!),
  );
  let done = 0;
  const context = {
    gpu,
    checkpoints: { ...checkpoints, control: checkpoints.compressed },
    control,
    notes,
    ...(signal && { signal }),
    onRun: (what: string) => onProgress(++done, total, what),
  };
  const states = new Map<Stream, StreamState>();
  const foundNonFinite = () => [...states.values()].some(({ check }) => check && check.nonFinite.length > 0);
  for (const { graph, streams: ones, segments, embeddingRows } of passes) {
    for (const stream of ones) states.set(stream, new StreamState(stream, checkOf(stream, checkpoints, signal)));
    const running = ones.map((stream) => states.get(stream)!);
    if (foundNonFinite()) break;
    await runBlocks(context, { graph, segments, states: running, embeddingRows });
  }
  const checked = streams.kernels && states.get(streams.kernels)!;
  const stateOf = (stream: Stream) => states.get(stream)!;
  const job = (a: Stream, b: Stream = a): ScoreJob => ({ a: stateOf(a), b: stateOf(b) });
  const main = job(streams.original, streams.compressed);
  const controlled = streams.control && job(streams.control);
  const layers = new Map([...streams.sensitivity].map(([layer, stream]) => [layer, stream && job(stream)] as const));
  if (checked && checked.check!.nonFinite.length > 0)
    for (const state of states.values()) if (!state.check) state.drop();
  const jobs = [main, ...(controlled ? [controlled] : []), ...[...layers.values()].filter((one) => one !== undefined)];
  const scores = await scoreHeads(context, jobs, checked, slices);
  checkCancelled(signal, 'The verification');
  onProgress(total, total);
  const kernels = checked && (checked.runs ? checked.check!.result : null);
  const common = kernels === undefined ? {} : { kernels };
  if (kernels && kernels.nonFinite.length > 0) {
    notes.add('The compressed model computes values that are not finite: accuracy and speed were not measured.');
    return { ...common, accuracy: null };
  }
  try {
    return { ...common, ...summarize(args, scores, { main, controlled, layers }) };
  } catch (error) {
    if (!(error instanceof LogitsError)) throw error;
    notes.add(`Accuracy and speed were not measured. ${error.message}`);
    return { ...common, accuracy: null, badLogits: error.count };
  }
}

function checkOf(
  { checked, graph, windows }: Stream,
  { compressed }: AccuracyArguments['checkpoints'],
  signal?: AbortSignal,
): KernelCheck | undefined {
  return (
    checked && new KernelCheck(graph, new ReferenceBlocks(compressed, graph, [...windows[0]!], signal && { signal }))
  );
}

/** How often a window goes through a block, or through a slice of the head. */
function runsOf({ streams, passes, slices }: BlockPlan): number {
  let runs = 0;
  for (const pass of passes) {
    for (const stream of pass.streams) {
      const { windows, fork } = stream;
      const from = fork ? pass.segments.findIndex(({ layer }) => layer === fork.layer) : 0;
      // The two models are scored together.
      const scored = stream === streams.compressed ? 0 : slices.length;
      runs += windows.length * (pass.segments.length - from + scored);
    }
  }
  return runs;
}

/** How much of the text a stream has. */
const sizeOf = ({ a: { stream } }: ScoreJob) => ({ windows: stream.windows.length, window: stream.windows[0]!.length });

interface Jobs {
  readonly main: ScoreJob;
  readonly controlled: ScoreJob | undefined;
  readonly layers: ReadonlyMap<number | null, ScoreJob | undefined>;
}

/** @throws LogitsError where one of the two models gives no numbers */
function summarize(
  { blocks: { streams }, notes }: AccuracyArguments,
  scores: ReadonlyMap<ScoreJob, readonly (readonly TokenScore[])[]>,
  { main, controlled, layers }: Jobs,
): Omit<AccuracyResult, 'kernels'> {
  const { original, compressed } = streams;
  const known = scores.get(main)!;
  const perplexityOf = (job: ScoreJob): number => {
    const { name } = job.a.stream;
    const windows = scores.get(job)!;
    for (const [i, window] of windows.entries()) throwIfNonFinite(window, i, [name, name]);
    return summarizeScores(windows).perplexity.original;
  };
  for (const [i, window] of known.entries()) {
    throwIfNonFinite(window, i, [original.name, compressed?.name ?? original.name]);
  }
  const { perplexity, kl, top1Agreement } = summarizeScores(known);
  const windows = { windows: known.length, window: original.windows[0]!.length };
  if (!controlled) {
    return {
      accuracy: {
        ...windows,
        perplexity: { original: perplexity.original, compressed: null, control: null },
        increaseInterval: null,
        control: null,
        kl: null,
        top1Agreement: null,
        sensitivity: [],
      },
      badLogits: 0,
    };
  }
  /** A figure of a stream; null with a note where it gives no numbers. */
  const attempt = (job: ScoreJob): number | null => {
    if (!scores.has(job)) return null;
    try {
      return perplexityOf(job);
    } catch (error) {
      if (!(error instanceof LogitsError)) throw error;
      notes.add(`${job.a.stream.optional} was left out. ${error.message}`);
      return null;
    }
  };
  const shuffled = attempt(controlled);
  // A token's score depends on those before it only, so that the start of a window has the scores that it has in the whole one.
  const few = controlled.a.stream.windows.map((tokens, i) => known[i]!.slice(0, tokens.length - 1));
  const ofFew = summarizeScores(few).perplexity.original;
  const sensitivity = [...layers].flatMap(([layer, job]) => {
    if (!job) return [{ layer, lossIncrease: 0 }];
    const mixed = attempt(job);
    return mixed === null ? [] : [{ layer, lossIncrease: Math.log(mixed) - Math.log(ofFew) }];
  });
  const control = shuffled === null ? null : { ...sizeOf(controlled), original: ofFew, ratio: shuffled / ofFew };
  return {
    accuracy: {
      ...windows,
      perplexity: { ...perplexity, control: shuffled },
      increaseInterval: increaseInterval(known),
      control,
      kl,
      top1Agreement,
      sensitivity,
    },
    controlRatio: control?.ratio ?? null,
    badLogits: 0,
  };
}
