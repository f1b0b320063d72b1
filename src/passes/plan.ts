import { FileError, FormatError, ModelError, RecipeError } from '../errors.ts';
import type { Checkpoint } from '../files/checkpoint.ts';
import { isFloat8 } from '../files/float8.ts';
import { ggufBytes } from '../files/gguf/write.ts';
import type { TensorInfo } from '../files/safetensors-read.ts';
import { alignedOrder, type TensorSpec } from '../files/safetensors-write.ts';
import { quote } from '../files/text.ts';
import { factoredNode, type WeightTree } from '../files/weight-tree.ts';
import { blocksFormat } from '../formats/blocks.ts';
import type { Format, FormatArray } from '../formats/format.ts';
import { arrayShape, contentBytes, formatBytes } from '../formats/layout.ts';
import { packedFormat } from '../formats/packed.ts';
import { checkPackedRow } from '../formats/packed-layout.ts';
import { checkRow } from '../formats/registry.ts';
import type { Graph } from '../graph/graph.ts';
import { scaleRoomBytes } from '../kernels/quantize.ts';
import { checkTensors } from '../models/check-tensors.ts';
import { noFactors, type PlannedFactors, withFactors } from './factorize/plan-factors.ts';
import { checkGgufFormats, type GgufPlacement, type GgufTarget, placeInGguf } from './gguf-plan.ts';
import { defaultMethod, type Method, needsCalibration } from './methods/method.ts';
import { modelGraph } from './model-graph.ts';
import { PIPELINE_DEPTH } from './pipeline.ts';
import { blockFormat, treeOf } from './plan-tree.ts';
import { compensatingBiases } from './pruning/plan-biases.ts';
import { keptBlocks, prunableAs } from './pruning/plan-pruning.ts';
import type { Packing, Pruning, Repair, Score } from './pruning/pruning.ts';
import { compileRecipe, type Recipe, type Role } from './recipe.ts';
import {
  type AnyWeight,
  allWeightsOf,
  CHUNK_BYTES,
  chunkRows,
  denseFormatOf,
  matrixShape,
  unreadable,
  weightsInFile,
} from './stored-weight.ts';
import { unusedNotices } from './unused-tensors.ts';

/** What becomes of one tensor. */
export interface TensorReport {
  readonly name: string;
  readonly shape: readonly number[];
  readonly role: Role;
  /** A format's name; for what is kept, the type that it has, in lower case. */
  readonly format: string;
  /** How its codes and scales are chosen, where it is quantized. */
  readonly method?: Method;
  readonly bytesBefore: number;
  readonly bytesAfter: number;
  /** Of a calibrated matrix, once it is compressed: what that costs, tr(ΔW H ΔWᵀ) / tr(W H Wᵀ). */
  readonly error?: { readonly rtn: number; readonly chosen: number };
  /** Of a matrix that is pruned. */
  readonly prune?: {
    readonly pattern: string;
    readonly score: Score;
    readonly repair: Repair;
    /** Once it is: the share of its weights that are gone. */
    readonly sparsity?: number;
    /** What that costs: tr(ΔW H ΔWᵀ) / tr(W H Wᵀ), without H in squares. */
    readonly error?: number;
  };
  /** Of a matrix that was to become factors. */
  readonly factors?: {
    /** Null where it does not, since they would take as much room. */
    readonly rank: number | null;
    /** They are added to the matrix in its format. */
    readonly residual: boolean;
    /** Once they are there, what all of it costs: tr(ΔW H ΔWᵀ) / tr(W H Wᵀ), without H in squares. */
    readonly error?: number;
  };
}

/** Sizes: all bytes are of tensor data, without the file's header. */
export interface SizeSummary {
  readonly tensors: readonly TensorReport[];
  readonly bytesBefore: number;
  readonly bytesAfter: number;
  readonly bitsPerWeight: {
    /** Over all tensors. */
    readonly all: number;
    /** Over all but embeddings and the output head. */
    readonly withoutEmbeddings: number;
  };
  /** What whoever wrote the recipe may want to know. */
  readonly notices: readonly string[];
}

/** A compression before it runs. */
export interface CompressionPlan extends SizeSummary {
  /** Estimates in bytes of what the run takes at its peak, and of what the compressed weights take on the GPU. */
  readonly memory: { readonly host: number; readonly gpu: number; readonly weights: number };
}

/** One tensor of the output, or the several that a quantized one becomes. */
export interface PlannedTensor {
  readonly name: string;
  /** Where it comes from. */
  readonly weight: AnyWeight;
  readonly report: TensorReport;
  /** What it is quantized to; undefined: it is copied. */
  readonly target: Format | undefined;
  /** How, where that is a format with blocks. */
  readonly method?: Method;
  /** Rounds of refinement, where they are asked for. */
  readonly refine?: number;
  /** Which weights go first; one object for all tensors of a rule. */
  readonly prune?: Pruning;
  /** Of a bias: the matrix that is pruned, whose loss on the mean input it makes up for. */
  readonly compensates?: string;
  /** What it becomes besides, or in place of, a matrix in the format. */
  readonly factors?: PlannedFactors;
  /** In a safetensors file: in the order in which they are written, one for each array of the format, or one in all. */
  readonly specs: readonly TensorSpec[];
  /** In a GGUF file. */
  readonly gguf?: GgufPlacement;
}

/** The plan with what carrying it out needs. */
export interface Plan {
  readonly summary: CompressionPlan;
  /** In the order of the output file. */
  readonly tensors: readonly PlannedTensor[];
  /** Those of them that are calibrated or pruned, a whole matrix at a time: the last, in the order of the graph. */
  readonly apart: readonly PlannedTensor[];
  /** Weights whose inputs a calibration, or statistics, show. */
  readonly calibrated: ReadonlySet<string>;
  readonly tree: WeightTree;
}

/** Matrices of files without a graph are compressed by default from this many rows and columns on, whatever their name. */
const SMALLEST_MATRIX = 32;

const EMBEDDING_NAME =
  /(^|[._])(embed\w*|token_embd|emb|wte|wpe|tok_embeddings|word_embeddings|relative_attention_bias)([._]|$)/i;
const NORM_NAME = /(^|[._])\w*(norm|ln)\w*([._]|$)/i;
const HEAD_NAME = /(^|[._])(lm_head|embed_out|output)\.weight$/i;

/** What a tensor of a file without a graph is probably for. */
export function guessRole({ name, shape }: { readonly name: string; readonly shape: readonly number[] }): Role {
  if (EMBEDDING_NAME.test(name)) return 'embedding';
  if (HEAD_NAME.test(name)) return 'head';
  if (NORM_NAME.test(name)) return 'norm';
  if (/(^|[._])bias$/i.test(name)) return 'bias';
  if (shape.length !== 2) return 'other';
  const large = shape.every((size) => size >= SMALLEST_MATRIX);
  return large || /(^|\.)weight$/.test(name) ? 'linear' : 'other';
}

/** The graph of an open model, its tensors checked; undefined for a file of bare tensors. */
export function graphOfCheckpoint(checkpoint: Checkpoint, folder: boolean): Graph | undefined {
  if (checkpoint.config === undefined) {
    if (!folder) return undefined;
    throw new ModelError(
      `${checkpoint.name}: there is no config.json. Add it, or give the .safetensors file itself to compress bare tensors.`,
    );
  }
  const graph = modelGraph(checkpoint);
  checkTensors(graph, allWeightsOf(checkpoint), checkpoint.name);
  return graph;
}

export interface PlanOptions {
  /** Bytes of a tensor to read at a time. Default: 64 MiB. */
  readonly chunkBytes?: number;
  /** Where the output is a GGUF file. */
  readonly gguf?: GgufTarget;
  /** Notices to begin with. */
  readonly notices?: readonly string[];
  /** Weights whose inputs a calibration shows, in the order in which it does. */
  readonly calibrated?: readonly string[];
  /** Of matrices whose singular values decide it, once these were looked at. */
  readonly ranks?: ReadonlyMap<string, number> | undefined;
}

/** Decides what becomes of every tensor. @throws FileError for weights that are compressed already, FormatError, ModelError */
export function planTensors(
  checkpoint: Checkpoint,
  graph: Graph | undefined,
  recipe: Recipe,
  { chunkBytes = CHUNK_BYTES, gguf, notices: first = [], calibrated: inWalk = [], ranks }: PlanOptions = {},
): Plan {
  if (gguf) checkGgufFormats(recipe);
  const packs = recipe.rules.findIndex(({ prune }) => prune?.packed);
  if (gguf && packs >= 0) {
    throw new FormatError(
      `Rule ${packs + 1} packs weights, which GGUF has no tensors for. Leave "packed" out, and zeros are written; or write a folder or a .safetensors file.`,
    );
  }
  const factored = [...(checkpoint.tree?.weights ?? [])].find(([, node]) => factoredNode(node));
  if (gguf && factored) {
    throw new FormatError(
      `${checkpoint.name}: ${quote(factored[0])} is made of factors, which GGUF has no tensors for. Write a folder or a .safetensors file.`,
    );
  }
  const decide = compileRecipe(recipe);
  const roles = new Map(graph?.weights.map(({ name, role }) => [name, role] as const));
  const used = new Set<number>();
  const notices = [...first];
  const planned: PlannedTensor[] = [];
  const kept: TensorInfo[] = [];
  for (const [name, weight] of weightsInFile(checkpoint)) {
    const role: Role = graph ? (roles.get(name) ?? 'other') : guessRole({ name, shape: weight.shape });
    const decision = decide(name, role);
    if (decision) used.add(decision.rule);
    if (weight.kind !== 'dense' && decision?.format) throw compressedAlready(checkpoint, name, weight);
    const pruning = decision?.prune && prunableAs(name, weight, decision.prune, inWalk, notices);
    const { packing } = pruning ?? {};
    const target =
      weight.kind !== 'dense'
        ? undefined
        : packing
          ? packedTarget(weight.info, decision?.format, packing, role)
          : allowed(weight.info, decision, graph !== undefined, { notices, kept });
    if (target?.activations === 'static' && !inWalk.includes(name)) throw noActivations(name, target);
    const asked = target && decision?.method;
    const refine = target && decision?.refine;
    const needs = asked !== undefined && (needsCalibration(asked) || (refine ?? 0) > 0);
    const blind = needs && !inWalk.includes(name);
    if (blind && inWalk.length === 0) throw uncalibrated(name, asked);
    const method = blind ? defaultMethod(target!) : asked;
    if (blind)
      notices.push(
        `${quote(name)} is quantized by ${method}: a calibration does not show its inputs, as ${needsCalibration(asked!) ? asked : 'refinement'} needs.`,
      );
    const how = {
      ...(method && { method, ...(refine !== undefined && !blind && { refine }) }),
      ...(pruning && { prune: pruning }),
    };
    const { factoring } = decision ?? {};
    if (gguf && factoring) throw noFactors(name);
    if (!gguf) {
      const tensor = withMethod(planTensor(checkpoint, name, weight, role, target), how);
      planned.push(factoring ? withFactors(tensor, factoring, ranks, notices) : tensor);
      continue;
    }
    const placement = placeInGguf(name, weight, role, target, gguf);
    if (placement.kind === 'placed') {
      planned.push(withMethod(planGgufTensor(name, weight, role, target, placement), how));
    } else notices.push(placement.notice);
  }
  notices.push(...keptNotices(kept));
  if (graph) notices.push(...unusedNotices(weightsInFile(checkpoint).keys(), graph));
  for (const [i, rule] of recipe.rules.entries()) {
    if (!used.has(i)) {
      notices.push(
        `Rule ${i + 1} (${[rule.match].flat().map(quote).join(', ')}) matched no tensor that was left to it.`,
      );
    }
  }
  // Without rules, too: only who asked to keep everything expects it.
  const wanted =
    recipe.rules.length === 0 || recipe.rules.some((rule) => rule.format !== 'keep' || rule.prune || rule.factorize);
  if (wanted && planned.every(({ target, prune, factors }) => target === undefined && !prune && !factors))
    notices.push('No matrix was compressed.');
  const walked = new Map(inWalk.map((name, i) => [name, i]));
  if (graph) markBiases(planned, graph, (name) => walked.has(name));
  const ordered = gguf ? planned : inFileOrder(planned);
  const isApart = ({ name, target, prune, factors, compensates }: PlannedTensor) =>
    [prune, factors, compensates].some((how) => how !== undefined) || (target?.kind === 'block' && walked.has(name));
  // A bias behind its matrix.
  const turn = ({ name, compensates }: PlannedTensor) =>
    compensates === undefined ? (walked.get(name) ?? walked.size) : walked.get(compensates)! + 0.5;
  const apart = ordered.filter(isApart).sort((a, b) => turn(a) - turn(b));
  const tensors = [...ordered.filter((tensor) => !isApart(tensor)), ...apart];
  return {
    summary: summarize(planned, notices, chunkBytes),
    tensors,
    apart,
    calibrated: new Set(inWalk),
    tree: treeOf(tensors, checkpoint.tree),
  };
}

/** Says of biases which pruned matrix they make up for. */
function markBiases(planned: PlannedTensor[], graph: Graph, isWalked: (name: string) => boolean): void {
  const places = new Map(planned.map(({ name }, at) => [name, at]));
  const isPruned = (name: string) => {
    const tensor = planned[places.get(name) ?? -1];
    return tensor?.prune !== undefined && !tensor.factors && isWalked(name);
  };
  for (const [weight, bias] of compensatingBiases(graph, isPruned)) {
    const at = places.get(bias);
    const tensor = at === undefined ? undefined : planned[at]!;
    if (tensor?.weight.kind !== 'dense' || denseFormatOf(tensor.weight.info.type) === undefined) continue;
    planned[at!] = { ...tensor, compensates: weight };
  }
}

const withMethod = (tensor: PlannedTensor, how: Pick<PlannedTensor, 'method' | 'refine' | 'prune'>): PlannedTensor => {
  const { method, prune } = how;
  const pruned = prune && { pattern: prune.text, score: prune.score, repair: prune.repair };
  return {
    ...{ ...tensor, ...how },
    report: { ...tensor.report, ...(method && { method }), ...(pruned && { prune: pruned }) },
  };
};

const uncalibrated = (name: string, method: Method): RecipeError =>
  new RecipeError(
    `${needsCalibration(method) ? `The method ${method}` : 'Refinement'} needs a calibration text (--calibration, or the option "calibration"), to know the inputs of ${quote(name)}.`,
  );

const compressedAlready = (checkpoint: Checkpoint, name: string, weight: AnyWeight): FileError => {
  const format = weight.kind === 'quantized' ? weight.format.name : weight.kind === 'opaque' ? weight.type : '';
  return new FileError(
    `${checkpoint.name}: it is already compressed (${quote(name)} is ${format}). Compress the original model instead: errors ` +
      'would add up. To write it into another kind of file, keep its formats (--format keep).',
  );
};

const noActivations = (name: string, { name: format }: Format): FormatError =>
  new FormatError(
    `Tensor ${quote(name)} cannot be stored as ${format}: nothing shows how large the activations are that it is multiplied with. Give a calibration ` +
      '(--calibration, or --statistics), or take w8a8, which measures them for each token.',
  );

/** The format that the tensor gets, where it can have it. */
function allowed(
  info: TensorInfo,
  decision: { readonly format: Format | undefined; readonly explicit: boolean } | undefined,
  strict: boolean,
  { notices, kept }: { readonly notices: string[]; readonly kept: TensorInfo[] },
): Format | undefined {
  const format = decision?.format;
  if (!format || info.shape.length !== 2 || info.byteLength === 0) return undefined;
  const source = denseFormatOf(info.type);
  if (source === undefined) {
    if (info.type === 'F64' || isFloat8(info.type)) kept.push(info);
    return undefined;
  }
  if (format === source) return undefined;
  try {
    checkRow(format, info.shape[1]!, info.name);
  } catch (error) {
    if (strict || decision.explicit || !(error instanceof FormatError)) throw error;
    notices.push(`${quote(info.name)} is kept: ${error.message}`);
    return undefined;
  }
  return format;
}

/** The format of packed weights, whose values get `format`, or stay as they are. @throws FormatError, ArgumentError */
function packedTarget(info: TensorInfo, format: Format | undefined, packing: Packing, role: Role): Format {
  const values = format ?? denseFormatOf(info.type)!;
  const [rows, k] = info.shape as [number, number];
  // Rows of an embedding are read one by one, and a head is verified in parts.
  if (role === 'embedding' || (role === 'head' && packing.kind === 'ranked')) {
    throw new FormatError(
      `Tensor ${quote(info.name)} is read a few rows at a time, which ${packing.kind === 'ranked' ? 'blocks' : 'weights'} that are packed are not: leave "packed" out for it, or give it a rule of its own.`,
    );
  }
  if (packing.kind === 'ranked') {
    const kept = keptBlocks(packing, rows, k, `Tensor ${quote(info.name)}`);
    return blocksFormat(values, { block: packing, rows, k, kept });
  }
  checkPackedRow(packing, values, k, info.name);
  return packedFormat(values, packing);
}

/** Matrices of types that hold weights but that no kernel reads: one notice a type. */
function keptNotices(kept: readonly TensorInfo[]): string[] {
  return [...new Set(kept.map(({ type }) => type))].map((type) => {
    const [first, ...more] = kept.filter((info) => info.type === type);
    const what = more.length === 0 ? 'is' : `and ${more.length} more are`;
    const why = isFloat8(type) ? ', whose scales are tensors of their own,' : '';
    return `${quote(first!.name)} ${what} kept: matrices of ${type}${why} are not compressed.`;
  });
}

function planTensor(
  checkpoint: Checkpoint,
  name: string,
  weight: AnyWeight,
  role: Role,
  target: Format | undefined,
): PlannedTensor {
  const { shape } = weight;
  if (weight.kind === 'opaque') throw unreadable(checkpoint, name, weight.type);
  const bytesBefore = storedBytes(weight);
  if (weight.kind === 'quantized') {
    const specs = weight.format.arrays.map((array): TensorSpec => specOf(name, weight.shape, weight.format, array));
    const report = { name, shape, role, format: weight.format.name, bytesBefore, bytesAfter: bytesBefore };
    return { name, weight, target: undefined, specs, report };
  }
  const { type } = weight.info;
  const { rows, k } = matrixShape(shape);
  const specs = target
    ? target.arrays.map((array): TensorSpec => specOf(name, shape, target, array))
    : [{ name, type, shape }];
  const bytesAfter = target
    ? target.arrays.reduce((sum, array) => sum + contentBytes(array, rows, k), 0)
    : weight.info.byteLength;
  const format = target?.name ?? type.toLowerCase();
  return { name, weight, target, specs, report: { name, shape, role, format, bytesBefore, bytesAfter } };
}

function planGgufTensor(
  name: string,
  weight: AnyWeight,
  role: Role,
  target: Format | undefined,
  placement: GgufPlacement,
): PlannedTensor {
  const report = {
    name,
    shape: weight.shape,
    role,
    format: placement.spec.type.name,
    bytesBefore: storedBytes(weight),
    bytesAfter: ggufBytes(placement.spec),
  };
  return { name, weight, target, specs: [], gguf: placement, report };
}

/** Bytes of a weight where it is stored now. */
const storedBytes = (weight: AnyWeight): number =>
  weight.kind === 'quantized' ? weight.parts.reduce((sum, part) => sum + part.byteLength, 0) : weight.info.byteLength;

/** One array of a format as a tensor of the output. Dense ones keep their name, so that any reader finds them. */
function specOf(name: string, shape: readonly number[], target: Format, array: FormatArray): TensorSpec {
  const [rows, k] = shape as [number, number];
  return {
    name: target.kind === 'dense' ? name : `${name}.${array.name}`,
    type: array.type,
    shape: arrayShape(array, rows, k),
  };
}

/**
 * Dense tensors first, by falling element size, then quantized ones with their arrays together, so that one pass over the
 * input writes the file. Everything starts at a multiple of its element size, except behind zero points of odd length.
 */
function inFileOrder(planned: readonly PlannedTensor[]): PlannedTensor[] {
  const isDense = (tensor: PlannedTensor) => !blockFormat(tensor) && !tensor.factors;
  const dense = planned.filter(isDense);
  const byName = new Map(dense.map((tensor) => [tensor.specs[0]!.name, tensor]));
  const ordered = alignedOrder(dense.map((tensor) => tensor.specs[0]!)).map((spec) => byName.get(spec.name)!);
  return [...ordered, ...planned.filter((tensor) => !isDense(tensor))];
}

/** Sums over the tensors of an output. */
export function sizesOf(tensors: readonly TensorReport[]): Omit<SizeSummary, 'notices'> {
  const sum = (of: (report: TensorReport) => number, among = tensors) => among.reduce((total, t) => total + of(t), 0);
  const bits = (among: readonly TensorReport[]) => {
    const weights = sum((t) => t.shape.reduce((product, size) => product * size, 1), among);
    return weights === 0 ? 0 : (8 * sum((t) => t.bytesAfter, among)) / weights;
  };
  return {
    tensors,
    bytesBefore: sum((t) => t.bytesBefore),
    bytesAfter: sum((t) => t.bytesAfter),
    bitsPerWeight: {
      all: bits(tensors),
      withoutEmbeddings: bits(tensors.filter((t) => t.role !== 'embedding' && t.role !== 'head')),
    },
  };
}

function summarize(planned: readonly PlannedTensor[], notices: readonly string[], chunkBytes: number): CompressionPlan {
  let chunk = 0;
  let results = 0;
  let held = 0;
  let gpu = 0;
  let onGpu = 0;
  for (const { weight, target, factors, report } of planned) {
    const { rows, k } = matrixShape(weight.shape);
    const fileRows = weight.shape[0] ?? 1;
    const bytes = storedBytes(weight);
    const rowBytes = bytes / Math.max(1, fileRows);
    const part = Math.min(fileRows, chunkRows(rowBytes, chunkBytes));
    chunk = Math.max(chunk, part * rowBytes);
    const format = weight.kind === 'quantized' ? weight.format : target;
    onGpu += factors ? report.bytesAfter : format ? formatBytes(format, rows, k) : bytes;
    if (format) {
      const scales = target ? scaleRoomBytes(target, rows, k) : 0;
      held = Math.max(held, formatBytes(format, rows, k) - contentBytes(format.arrays[0]!, rows, k) + scales);
      gpu = Math.max(gpu, 2 * scales);
    }
    if (target) {
      const made = target.single ?? target;
      results = Math.max(results, formatBytes(made, part, k));
      gpu = Math.max(gpu, part * rowBytes + 2 * formatBytes(made, part, k));
    }
  }
  return {
    ...sizesOf(planned.map((tensor) => tensor.report)),
    notices,
    // On the host, a chunk in each stage, the device's copy of the one that it uploads, and what comes back; on the GPU, the
    // chunk, its result and the buffer through which that is read back.
    memory: { host: (PIPELINE_DEPTH + 1) * chunk + results + held, gpu, weights: onGpu },
  };
}
