import type { Gpu } from '../gpu/gpu.ts';
import type { Graph } from '../graph/graph.ts';
import type { Weight } from '../kernels/weight.ts';
import { scoreTokens, scoreWindows, summarizeScores } from './accuracy.ts';
import type { Report } from './report-schema.ts';
import { measureSensitivity } from './sensitivity.ts';
import { shuffledWeights } from './shuffle-control.ts';
import type { BeginStage } from './stages.ts';
import { releaseWeights, withDecoder } from './with-decoder.ts';

type AccuracyReport = NonNullable<Report['accuracy']>;

/** Windows for the control and for each layer's sensitivity, and the most tokens of each: every layer has to run them. */
const FEW_WINDOWS = 2;
const FEW_TOKENS = 128;

export interface AccuracyArguments {
  readonly gpu: Gpu;
  readonly graph: Graph;
  readonly original: ReadonlyMap<string, Weight>;
  readonly windows: readonly Uint32Array[];
  readonly begin: BeginStage;
}

/** Perplexity of one model. @throws NonFiniteError, CancelledError, OutOfMemoryError */
export async function scoreOne({ gpu, graph, original, windows, begin }: AccuracyArguments): Promise<AccuracyReport> {
  const window = windows[0]!.length;
  const { perplexity } = await withDecoder(gpu, graph, original, window, (decoder) =>
    scoreWindows(decoder, decoder, windows, begin('accuracy', 'windows', windows.length)),
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

/**
 * Both models on the same text, the control that must fail, and what each layer costs. The original runs once on each window.
 * @param args.changed names of the weights whose values differ
 * @throws NonFiniteError, CancelledError, OutOfMemoryError
 */
export async function compareAccuracy(
  args: AccuracyArguments & { readonly compressed: ReadonlyMap<string, Weight>; readonly changed: ReadonlySet<string> },
): Promise<AccuracyReport> {
  const { gpu, graph, original, compressed, changed, windows, begin } = args;
  const window = windows[0]!.length;
  const scores = await withDecoder(gpu, graph, original, window, (a) =>
    withDecoder(gpu, graph, compressed, window, (b) =>
      scoreTokens(a, b, windows, begin('accuracy', 'windows', windows.length)),
    ),
  );
  const few = windows.slice(0, FEW_WINDOWS).map((tokens) => tokens.subarray(0, FEW_TOKENS));
  // A token's score depends on those before it only, so that the start of a window has the scores that it has in the whole one.
  const known = scores.slice(0, few.length).map((window) => window.slice(0, few[0]!.length - 1));
  const originalLoss = Math.log(summarizeScores(known).perplexity.original);
  const control = await scoreControl({ gpu, graph, original: compressed, windows: few, begin });
  const sensitivity = await measureSensitivity(
    { gpu, graph, original, compressed, changed, windows: few, originalLoss },
    begin('sensitivity', 'layers', graph.layers),
  );
  const { perplexity, kl, top1Agreement } = summarizeScores(scores);
  return { windows: windows.length, window, perplexity: { ...perplexity, control }, kl, top1Agreement, sensitivity };
}

/** Perplexity of the model with the rows of its matrices in a random order. */
async function scoreControl({ gpu, graph, original, windows, begin }: AccuracyArguments): Promise<number> {
  const options = begin('control', 'windows', windows.length);
  const { weights, created } = await shuffledWeights(gpu, graph, original);
  try {
    const { perplexity } = await withDecoder(gpu, graph, weights, windows[0]!.length, (decoder) =>
      scoreWindows(decoder, decoder, windows, options),
    );
    return perplexity.original;
  } finally {
    releaseWeights(created);
  }
}
