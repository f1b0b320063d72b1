import { FileError, FormatError, ModelError } from '../errors.ts';
import type { Checkpoint } from '../files/checkpoint.ts';
import type { TensorInfo } from '../files/safetensors-read.ts';
import { alignedOrder, type TensorSpec } from '../files/safetensors-write.ts';
import { quote } from '../files/text.ts';
import type { WeightNode, WeightTree } from '../files/weight-tree.ts';
import type { Format, FormatArray } from '../formats/format.ts';
import { contentBytes, formatBytes } from '../formats/layout.ts';
import { checkRow } from '../formats/registry.ts';
import type { Graph } from '../graph/graph.ts';
import { checkTensors } from '../models/check-tensors.ts';
import { graphOf } from '../models/families.ts';
import { compileRecipe, type Recipe, type Role } from './recipe.ts';
import { CHUNK_BYTES, chunkRows, denseFormatOf, matrixShape } from './stored-weight.ts';

/** What becomes of one tensor. */
export interface TensorReport {
  readonly name: string;
  readonly shape: readonly number[];
  readonly role: Role;
  /** A format's name; for what is kept, the type that it has, in lower case. */
  readonly format: string;
  readonly bytesBefore: number;
  readonly bytesAfter: number;
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
  readonly info: TensorInfo;
  readonly report: TensorReport;
  /** undefined: its bytes are copied. */
  readonly target: Format | undefined;
  /** In the order in which they are written; one for each array of `target`, or one in all. */
  readonly specs: readonly TensorSpec[];
}

/** The plan with what carrying it out needs. */
export interface Plan {
  readonly summary: CompressionPlan;
  /** In the order of the output file. */
  readonly tensors: readonly PlannedTensor[];
  readonly tree: WeightTree;
}

/** Matrices of files without a graph are compressed by default from this many rows and columns on, whatever their name. */
const SMALLEST_MATRIX = 32;

const EMBEDDING_NAME = /(^|[._])(embed\w*|emb|wte|wpe|tok_embeddings|word_embeddings|relative_attention_bias)([._]|$)/i;
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

/** The graph of an open model folder, its tensors checked; undefined for a file without a model. */
export function graphOfCheckpoint(checkpoint: Checkpoint, folder: boolean): Graph | undefined {
  if (!folder) return undefined;
  if (checkpoint.config === undefined) {
    throw new ModelError(
      `${checkpoint.name}: there is no config.json. Add it, or give the .safetensors file itself to compress bare tensors.`,
    );
  }
  const graph = graphOf(checkpoint.config, `${checkpoint.name}/config.json`);
  checkTensors(graph, checkpoint.tensors, checkpoint.name);
  return graph;
}

/** Decides what becomes of every tensor. @throws FileError for input that is compressed already, FormatError */
export function planTensors(
  checkpoint: Checkpoint,
  graph: Graph | undefined,
  recipe: Recipe,
  chunkBytes: number = CHUNK_BYTES,
): Plan {
  if (checkpoint.tree) {
    throw new FileError(
      `${checkpoint.name}: it is already compressed by Compressa. Compress the original model instead: errors would add up.`,
    );
  }
  const decide = compileRecipe(recipe);
  const roles = new Map(graph?.weights.map(({ name, role }) => [name, role] as const));
  const used = new Set<number>();
  const notices: string[] = [];
  const planned = [...checkpoint.tensors.values()].map((info) => {
    const role: Role = graph ? (roles.get(info.name) ?? 'other') : guessRole(info);
    const decision = decide(info.name, role);
    if (decision) used.add(decision.rule);
    return planTensor(info, role, allowed(info, decision, graph !== undefined, notices));
  });
  for (const [i, rule] of recipe.rules.entries()) {
    if (!used.has(i)) {
      notices.push(
        `Rule ${i + 1} (${[rule.match].flat().map(quote).join(', ')}) matched no tensor that was left to it.`,
      );
    }
  }
  if (planned.every((tensor) => tensor.target === undefined)) notices.push('No matrix was compressed.');
  const tensors = inFileOrder(planned);
  return { summary: summarize(planned, notices, chunkBytes), tensors, tree: treeOf(tensors) };
}

/** The format that the tensor gets, where it can have it. */
function allowed(
  info: TensorInfo,
  decision: { readonly format: Format | undefined; readonly explicit: boolean } | undefined,
  strict: boolean,
  notices: string[],
): Format | undefined {
  const format = decision?.format;
  if (!format || info.shape.length !== 2 || info.byteLength === 0) return undefined;
  const source = denseFormatOf(info.type);
  if (source === undefined) {
    if (info.type === 'F64') notices.push(`${quote(info.name)} is kept: matrices of F64 are not compressed.`);
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

function planTensor(info: TensorInfo, role: Role, target: Format | undefined): PlannedTensor {
  const { name, shape, type } = info;
  const { rows, k } = matrixShape(shape);
  const specs = target
    ? target.arrays.map((array): TensorSpec => specOf(info, target, array))
    : [{ name, type, shape }];
  const bytesAfter = target
    ? target.arrays.reduce((sum, array) => sum + contentBytes(array, rows, k), 0)
    : info.byteLength;
  const format = target?.name ?? type.toLowerCase();
  return { info, target, specs, report: { name, shape, role, format, bytesBefore: info.byteLength, bytesAfter } };
}

/** One array of a format as a tensor of the output. Dense ones keep their name, so that any reader finds them. */
function specOf(info: TensorInfo, target: Format, array: FormatArray): TensorSpec {
  const [rows, k] = info.shape as [number, number];
  return {
    name: target.kind === 'dense' ? info.name : `${info.name}.${array.name}`,
    type: array.type,
    shape: [rows, array.elementsPerRow(k)],
  };
}

/**
 * Dense tensors first, by falling element size, then quantized ones with their arrays together, so that one pass over the
 * input writes the file. Everything starts at a multiple of its element size, except behind zero points of odd length.
 */
function inFileOrder(planned: readonly PlannedTensor[]): PlannedTensor[] {
  const dense = planned.filter((tensor) => tensor.target?.kind !== 'block');
  const byName = new Map(dense.map((tensor) => [tensor.specs[0]!.name, tensor]));
  const ordered = alignedOrder(dense.map((tensor) => tensor.specs[0]!)).map((spec) => byName.get(spec.name)!);
  return [...ordered, ...planned.filter((tensor) => tensor.target?.kind === 'block')];
}

function treeOf(tensors: readonly PlannedTensor[]): WeightTree {
  const weights = new Map<string, WeightNode>();
  for (const { info, target, specs } of tensors) {
    if (target?.kind !== 'block') continue;
    weights.set(info.name, {
      kind: 'quantized',
      format: target.name,
      group: target.block,
      shape: info.shape as readonly [number, number],
      parts: Object.fromEntries(target.arrays.map((array, i) => [array.name, specs[i]!.name])),
    });
  }
  return { version: 1, weights };
}

function summarize(planned: readonly PlannedTensor[], notices: readonly string[], chunkBytes: number): CompressionPlan {
  const tensors = planned.map((tensor) => tensor.report);
  const sum = (of: (report: TensorReport) => number, among = tensors) => among.reduce((total, t) => total + of(t), 0);
  const bits = (among: TensorReport[]) => {
    const weights = sum((t) => t.shape.reduce((product, size) => product * size, 1), among);
    return weights === 0 ? 0 : (8 * sum((t) => t.bytesAfter, among)) / weights;
  };
  let chunk = 0;
  let held = 0;
  let gpu = 0;
  let onGpu = 0;
  for (const { info, target } of planned) {
    const { rows, k } = matrixShape(info.shape);
    const fileRows = info.shape[0] ?? 1;
    const rowBytes = info.byteLength / Math.max(1, fileRows);
    const part = Math.min(fileRows, chunkRows(rowBytes, chunkBytes));
    chunk = Math.max(chunk, part * rowBytes);
    onGpu += target ? formatBytes(target, rows, k) : info.byteLength;
    if (!target) continue;
    gpu = Math.max(gpu, part * rowBytes + formatBytes(target, part, k));
    held = Math.max(held, formatBytes(target, rows, k) - contentBytes(target.arrays[0]!, rows, k));
  }
  return {
    tensors,
    bytesBefore: sum((t) => t.bytesBefore),
    bytesAfter: sum((t) => t.bytesAfter),
    bitsPerWeight: {
      all: bits(tensors),
      withoutEmbeddings: bits(tensors.filter((t) => t.role !== 'embedding' && t.role !== 'head')),
    },
    notices,
    // Two chunks: one is read while the GPU works on the other; its results come on top.
    memory: { host: 3 * chunk + held, gpu, weights: onGpu },
  };
}
