import { ArgumentError, FormatError } from '../errors.ts';
import type { Checkpoint } from '../files/checkpoint.ts';
import type { Format } from '../formats/format.ts';
import { formatByName } from '../formats/registry.ts';
import type { Graph } from '../graph/graph.ts';
import { checkGraphWeights } from '../passes/load-weights.ts';
import { denseFormatOf } from '../passes/stored-weight.ts';
import { storedParts, type WholeWeight } from '../passes/whole-weight.ts';
import { cutWindows, type WindowOptions } from '../passes/windows.ts';
import { type BlockPlan, type GpuLimits, NO_LIMITS, planBlocks } from './block-plan.ts';
import { type Graphs, graphsOf, joinGraphs, operationsNote, sameBasis, unfactored } from './compare-models.ts';
import { estimateMemory, estimateSizesOnly, type MemoryEstimate, type SpeedShape } from './memory-estimate.ts';
import type { Report } from './report-schema.ts';
import { bytesOnDisk, type Pairing, pairWeights, sameShape, type WeightPair } from './sizes.ts';
import { SPEED_DEFAULTS, type SpeedOptions } from './speed.ts';
import { STACK_1B, type Stack, stackBytes } from './stack-speed.ts';
import { streamsOf } from './streams.ts';

/** What of speed a verification measures. */
export interface VerifySpeedOptions extends Omit<SpeedOptions, 'signal' | 'onProgress'> {
  /** Synthetic layers that are timed besides the model; false leaves them out. Default: two with the shapes of a 1B model. */
  readonly stack?: Stack | false;
}

/** Synthetic layers that are timed, their linear matrices in a format. */
export interface TimedLayers {
  readonly stack: Stack;
  readonly format: Format;
  /** On the GPU. */
  readonly bytes: number;
}

/** What a verification compares, and what it may cost. */
export interface VerifyPlanOptions extends WindowOptions {
  /** Tokens of held-out text; without them only sizes and weight errors are reported. */
  readonly tokens?: ArrayLike<number>;
  /** Fraction: 0.01 allows one percent. */
  readonly maxPerplexityIncrease?: number;
  /** false leaves the speed out. */
  readonly speed?: VerifySpeedOptions | false;
  /** What the device allows. Default: all that it takes. */
  readonly limits?: GpuLimits;
}

/** A verification before it runs. */
export interface VerificationPlan {
  readonly memory: Report['memory'];
  readonly pairing: Pairing;
  /** What to know about the comparison, from headers. */
  readonly notes: readonly string[];
  /** What running the models takes; undefined where only sizes and weight errors are reported. */
  readonly run?: {
    readonly graphs: Graphs;
    /** Whether a layer of one model can stand in the other. */
    readonly mixable: boolean;
    readonly windows: readonly Uint32Array[];
    /** How the models are cut to fit, as though every layer differed. */
    readonly blocks: BlockPlan;
    readonly estimate: MemoryEstimate;
    /** Undefined: no speed. */
    readonly speed?: SpeedShape & { readonly stack: TimedLayers | undefined };
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
  const graphs = tokens && graphsOf(original, compressed);
  if (graphs) {
    checkGraphWeights(original, graphs.original);
    if (compressed) checkGraphWeights(compressed, graphs.compressed);
  }
  const pairing = pairWeights(original, compressed ?? original, graphs);
  const { pairs } = pairing;
  const notes = compressed ? notesOf(original, compressed, pairing, graphs) : [];
  if (!graphs || !tokens) {
    if (options.maxPerplexityIncrease !== undefined) {
      throw new ArgumentError(
        'A perplexity gate needs a model (a folder with config.json, or a .gguf file) and a --text to score.',
      );
    }
    return { pairing, notes, memory: estimateSizesOnly(pairs) };
  }
  if (options.maxPerplexityIncrease !== undefined && !compressed) {
    throw new ArgumentError('A perplexity gate needs two models: the original and the compressed one.');
  }
  const windows = cutWindows(tokens, options);
  const window = windows[0]!.length;
  const positions = Math.min(graphs.original.maxPositions, graphs.compressed.maxPositions);
  if (window > positions) {
    throw new ArgumentError(
      `A window of ${window} tokens is longer than the model's ${positions} positions. Use a smaller --window.`,
    );
  }
  const speed = compressed && options.speed !== false ? speedShape(positions, options.speed) : undefined;
  const mixable = canMix(pairing, graphs) && (!compressed || sameBasis(original, compressed));
  const joined = joinGraphs(graphs);
  const layers = speed && layersToTime(pairs, options.speed || {}, notes);
  const checkpoints = { original, compressed: compressed ?? original };
  const compares = compressed !== undefined;
  const { limits = NO_LIMITS } = options;
  const changed = new Set([...Array.from({ length: graphs.original.layers }, (_, layer) => layer), null]);
  const blocks = planBlocks(checkpoints, streamsOf({ graphs: joined, windows, compares, mixable, changed }), limits);
  const estimate = estimateMemory({
    checkpoints,
    graphs,
    pairs,
    compares,
    blocks,
    limits,
    speed,
    stack: layers?.bytes ?? null,
  });
  return {
    pairing,
    notes,
    memory: estimate.memory,
    run: { graphs: joined, mixable, windows, blocks, estimate, ...(speed && { speed: { ...speed, stack: layers } }) },
  };
}

function canMix({ pairs }: Pairing, { original, compressed }: Graphs): boolean {
  const alike = new Set(pairs.filter(sameShape).map(({ name }) => name));
  const fits = ({ weights }: Graph) => weights.every(({ name }) => alike.has(name));
  return original.layers === compressed.layers && fits(original) && fits(compressed);
}

/** Names that a note lists. */
const MOST_NAMED = 5;

const listed = (names: readonly string[]): string =>
  `${names.slice(0, MOST_NAMED).join(', ')}${names.length > MOST_NAMED ? ` and ${names.length - MOST_NAMED} more` : ''}`;

function notesOf(
  original: Checkpoint,
  compressed: Checkpoint,
  { pairs, unpaired }: Pairing,
  graphs: Graphs | undefined,
): string[] {
  const notes: string[] = [];
  const sum = (of: (pair: WeightPair) => WholeWeight) =>
    pairs.reduce((bytes, pair) => bytes + bytesOnDisk(of(pair)), 0);
  const quantized = pairs.filter(({ original: stored }) => stored.kind !== 'dense');
  const larger = sum((pair) => pair.compressed) > sum((pair) => pair.original);
  const onlyFirst = quantized.length > 0 && pairs.every(({ compressed: stored }) => stored.kind === 'dense');
  if (larger || onlyFirst) {
    const found = onlyFirst
      ? `The first model is compressed, in ${quantized.length} of its tensors, and the second is not`
      : 'The second model is larger than the first, which should be the original';
    notes.push(`${found}. Are the two arguments the right way round? The original comes first.`);
  }
  if (quantized.length > 0) {
    notes.push(
      `The original is itself compressed, in ${quantized.length} of its tensors: what that cost is in none of these figures.`,
    );
  }
  const only = { 'the original': unpaired.original, 'the compressed model': unpaired.compressed };
  for (const [which, tensors] of Object.entries(only)) {
    if (tensors.length > 0) notes.push(`Only ${which} has these tensors: ${listed(tensors.map(({ name }) => name))}.`);
  }
  const reshaped = pairs.filter((pair) => !sameShape(pair)).map(({ name }) => name);
  if (reshaped.length > 0) notes.push(`Tensors of different shapes, whose error is not defined: ${listed(reshaped)}.`);
  if (graphs && !compressed.config) notes.push(`${compressed.name} has no config.json: it ran by the original's.`);
  if (!sameBasis(original, compressed)) {
    notes.push(
      "One of the models is rotated: weights mean something else in each, so that they have no errors and layers can't be exchanged.",
    );
  }
  const plain = graphs && unfactored(original, compressed);
  const operations = plain && operationsNote(plain);
  if (operations) notes.push(operations);
  return notes;
}

function speedShape(positions: number, options: VerifySpeedOptions = {}): SpeedShape {
  const decodeTokens = Math.min(options.decodeTokens ?? SPEED_DEFAULTS.decodeTokens, positions - 1);
  const wanted = options.prefillTokens ?? SPEED_DEFAULTS.prefillTokens;
  return { decodeTokens, prefillTokens: Math.min(wanted, positions - decodeTokens) };
}

/** The synthetic layers in the compressed model's format; undefined where they are not asked for, and with a note where they can't have it. */
function layersToTime(
  pairs: readonly WeightPair[],
  { stack = STACK_1B }: VerifySpeedOptions,
  notes: string[],
): TimedLayers | undefined {
  if (stack === false) return undefined;
  const format = commonFormat(pairs);
  try {
    return { stack, format, bytes: stackBytes(stack, format) };
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    notes.push(`The speed of synthetic layers was not measured: ${error.message}`);
    return undefined;
  }
}

/** The format in which most of the weights of the compressed model's linear matrices are. */
function commonFormat(pairs: readonly WeightPair[]): Format {
  const counts = new Map<string, { readonly format: Format; readonly weights: number }>();
  const stored = pairs.flatMap(({ role, compressed }) => (role === 'linear' ? storedParts(compressed) : []));
  for (const weight of stored) {
    const format =
      weight.kind === 'quantized' ? weight.format : (denseFormatOf(weight.info.type) ?? formatByName('f32'));
    const { weights } = counts.get(format.name) ?? { weights: 0 };
    // Block-sparse matrices of several sizes have formats of one name.
    counts.set(format.name, { format, weights: weights + weight.shape.reduce((product, n) => product * n, 1) });
  }
  return [...counts.values()].sort((a, b) => b.weights - a.weights)[0]?.format ?? formatByName('f32');
}
