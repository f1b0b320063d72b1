import type { Gpu } from '../gpu/gpu.ts';
import type { Graph } from '../graph/graph.ts';
import type { Weight } from '../kernels/weight.ts';
import { scoreTokens, scoreWindows, summarizeScores } from './accuracy.ts';
import type { Graphs } from './compare-models.ts';
import type { Notes } from './notes.ts';
import type { Report } from './report-schema.ts';
import { measureSensitivity } from './sensitivity.ts';
import { shuffledWeights } from './shuffle-control.ts';
import type { BeginStage } from './stages.ts';
import { releaseWeights, withDecoder } from './with-decoder.ts';

type AccuracyReport = NonNullable<Report['accuracy']>;

/** Windows for the control and for each layer's sensitivity, and the most tokens of each: every layer has to run them. */
const FEW_WINDOWS = 2;
const FEW_TOKENS = 128;

/** Makes the weights of a control that must fail; the caller releases what `created` lists. */
export type ControlMaker = typeof shuffledWeights;

interface Scoring {
  readonly gpu: Gpu;
  readonly original: ReadonlyMap<string, Weight>;
  readonly windows: readonly Uint32Array[];
  readonly begin: BeginStage;
}

/** Perplexity of one model. @throws LogitsError, CancelledError, OutOfMemoryError */
export async function scoreOne(args: Scoring & { readonly graph: Graph }): Promise<AccuracyReport> {
  const { gpu, graph, original, windows, begin } = args;
  const window = windows[0]!.length;
  const { perplexity } = await withDecoder(gpu, graph, original, window, (decoder) =>
    scoreWindows(decoder, decoder, windows, {
      ...begin('accuracy', 'windows', windows.length),
      names: ['The model', 'The model'],
    }),
  );
  return {
    windows: windows.length,
    window,
    perplexity: { original: perplexity.original, compressed: null, control: null },
    kl: null,
    top1Agreement: null,
    sensitivity: [],
  };
}

export interface AccuracyArguments extends Scoring {
  readonly graphs: Graphs;
  readonly compressed: ReadonlyMap<string, Weight>;
  /** Names of the weights whose values differ. */
  readonly changed: ReadonlySet<string>;
  /** Whether a layer of one model can stand in the other. */
  readonly mixable: boolean;
  readonly notes: Notes;
  /** Default: rows in a random order. */
  readonly control?: ControlMaker;
}

export interface AccuracyResult {
  readonly accuracy: AccuracyReport;
  /** The control's perplexity divided by the original's on the same tokens; null where it was not measured. */
  readonly controlRatio: number | null;
}

/**
 * Both models on the same text, the control that must fail, and what each layer costs. The original runs once on each window. Where the
 * control or a layer fails, that is left out, with a note.
 * @throws LogitsError, CancelledError, OutOfMemoryError
 */
export async function compareAccuracy(args: AccuracyArguments): Promise<AccuracyResult> {
  const { gpu, graphs, original, compressed, windows, begin, notes } = args;
  const window = windows[0]!.length;
  const scores = await withDecoder(gpu, graphs.original, original, window, (a) =>
    withDecoder(gpu, graphs.compressed, compressed, window, (b) =>
      scoreTokens(a, b, windows, begin('accuracy', 'windows', windows.length)),
    ),
  );
  const few = windows.slice(0, FEW_WINDOWS).map((tokens) => tokens.subarray(0, FEW_TOKENS));
  // A token's score depends on those before it only, so that the start of a window has the scores that it has in the whole one.
  const known = scores.slice(0, few.length).map((window) => window.slice(0, few[0]!.length - 1));
  const ofFew = summarizeScores(known).perplexity.original;
  const control = await notes.attempt('The control', () => scoreControl(args, few));
  const sensitivity = await sensitivityOf(args, few, Math.log(ofFew));
  const { perplexity, kl, top1Agreement } = summarizeScores(scores);
  return {
    accuracy: {
      windows: windows.length,
      window,
      perplexity: { ...perplexity, control },
      kl,
      top1Agreement,
      sensitivity,
    },
    controlRatio: control === null ? null : control / ofFew,
  };
}

/** Perplexity of the compressed model with the rows of its matrices in a random order. */
async function scoreControl(
  { gpu, graphs, compressed, begin, control = shuffledWeights }: AccuracyArguments,
  windows: readonly Uint32Array[],
): Promise<number> {
  const options = begin('control', 'windows', windows.length);
  const { weights, created } = await control(gpu, graphs.compressed, compressed, options.signal);
  try {
    const { perplexity } = await withDecoder(gpu, graphs.compressed, weights, windows[0]!.length, (decoder) =>
      scoreWindows(decoder, decoder, windows, { ...options, names: ['The control', 'The control'] }),
    );
    return perplexity.original;
  } finally {
    releaseWeights(created);
  }
}

async function sensitivityOf(
  { gpu, graphs, original, compressed, changed, mixable, begin, notes }: AccuracyArguments,
  windows: readonly Uint32Array[],
  originalLoss: number,
): Promise<AccuracyReport['sensitivity']> {
  if (!mixable) {
    notes.add('The sensitivity of layers was left out: those of the two models have different shapes.');
    return [];
  }
  const run = () =>
    measureSensitivity(
      { gpu, graph: graphs.original, original, compressed, changed, windows, originalLoss, notes },
      begin('sensitivity', 'layers', graphs.original.layers),
    );
  return (await notes.attempt('The sensitivity of layers', run)) ?? [];
}
