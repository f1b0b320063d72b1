import { ArgumentError } from '../errors.ts';
import type { Checkpoint } from '../files/checkpoint.ts';
import type { Format } from '../formats/format.ts';
import { formatByName } from '../formats/registry.ts';
import type { Graph } from '../graph/graph.ts';
import { graphOf } from '../models/families.ts';
import { checkGraphWeights } from '../passes/load-weights.ts';
import { denseFormatOf } from '../passes/stored-weight.ts';
import { cutWindows, type WindowOptions } from './accuracy.ts';
import { estimateMemory, estimateSizesOnly, type MemoryEstimate, type SpeedShape } from './memory-estimate.ts';
import type { Report } from './report-schema.ts';
import { pairWeights, type WeightPair } from './sizes.ts';
import { SPEED_DEFAULTS, type SpeedOptions } from './speed.ts';
import { STACK_1B, type Stack, stackBytes } from './stack-speed.ts';

export interface VerifySpeedOptions extends Omit<SpeedOptions, 'signal' | 'onProgress'> {
  /** Synthetic layers that are timed besides the model; false leaves them out. Default: two with the shapes of a 1B model. */
  readonly stack?: Stack | false;
}

export interface VerifyPlanOptions extends WindowOptions {
  /** Tokens of held-out text; without them only sizes and weight errors are reported. */
  readonly tokens?: ArrayLike<number>;
  /** Fraction: 0.01 allows one percent. */
  readonly maxPerplexityIncrease?: number;
  /** false leaves the speed out. */
  readonly speed?: VerifySpeedOptions | false;
}

/** A verification before it runs. */
export interface VerificationPlan {
  readonly memory: Report['memory'];
  readonly pairs: readonly WeightPair[];
  /** What running the models takes; undefined where only sizes and weight errors are reported. */
  readonly run?: {
    readonly graph: Graph;
    readonly windows: readonly Uint32Array[];
    readonly estimate: MemoryEstimate;
    /** Undefined: no speed. */
    readonly speed?: SpeedShape & { readonly stack: { readonly stack: Stack; readonly format: Format } | undefined };
  };
}

/**
 * Checks what needs no GPU and estimates the memory, from headers only.
 * @throws ModelError when the two are not the same model, or of a family that is not known; ArgumentError
 */
export function planVerification(
  original: Checkpoint,
  compressed: Checkpoint | undefined,
  options: VerifyPlanOptions = {},
): VerificationPlan {
  const { tokens } = options;
  const graph = tokens && original.config ? graphOf(original.config, `${original.name}/config.json`) : undefined;
  const pairs = pairWeights(original, compressed ?? original, graph);
  if (!graph || !tokens) {
    if (options.maxPerplexityIncrease !== undefined) {
      throw new ArgumentError('A perplexity gate needs a model folder with config.json and a --text to score.');
    }
    return { pairs, memory: estimateSizesOnly(pairs) };
  }
  if (options.maxPerplexityIncrease !== undefined && !compressed) {
    throw new ArgumentError('A perplexity gate needs two models: the original and the compressed one.');
  }
  checkGraphWeights(original, graph);
  if (compressed) checkGraphWeights(compressed, graph);
  const windows = cutWindows(tokens, options);
  const window = windows[0]!.length;
  if (window > graph.maxPositions) {
    throw new ArgumentError(
      `A window of ${window} tokens is longer than the model's ${graph.maxPositions} positions. Use a smaller --window.`,
    );
  }
  const speed = compressed && options.speed !== false ? speedShape(graph, pairs, options.speed) : undefined;
  const estimate = estimateMemory({
    graph,
    pairs,
    compares: compressed !== undefined,
    window,
    speed,
    stack: speed?.stack ? stackBytes(speed.stack.stack, speed.stack.format) : null,
  });
  return { pairs, memory: estimate.memory, run: { graph, windows, estimate, ...(speed && { speed }) } };
}

function speedShape(graph: Graph, pairs: readonly WeightPair[], options: VerifySpeedOptions = {}) {
  const { stack = STACK_1B } = options;
  const decodeTokens = Math.min(options.decodeTokens ?? SPEED_DEFAULTS.decodeTokens, graph.maxPositions - 1);
  const wanted = options.prefillTokens ?? SPEED_DEFAULTS.prefillTokens;
  return {
    decodeTokens,
    prefillTokens: Math.min(wanted, graph.maxPositions - decodeTokens),
    stack: stack === false ? undefined : { stack, format: commonFormat(pairs) },
  };
}

/** The format in which most of the weights of the compressed model's linear matrices are. */
function commonFormat(pairs: readonly WeightPair[]): Format {
  const counts = new Map<Format, number>();
  for (const { role, compressed } of pairs) {
    if (role !== 'linear') continue;
    const format =
      compressed.kind === 'quantized'
        ? compressed.format
        : (denseFormatOf(compressed.info.type) ?? formatByName('f32'));
    counts.set(format, (counts.get(format) ?? 0) + compressed.shape.reduce((product, n) => product * n, 1));
  }
  return [...counts].sort((a, b) => b[1] - a[1])[0]?.[0] ?? formatByName('f32');
}
