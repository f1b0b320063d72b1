import toIq4Nl from '../../shaders/quantize/iq4_nl.wgsl';
import toIq4Xs from '../../shaders/quantize/iq4_xs.wgsl';
import toMxfp4 from '../../shaders/quantize/mxfp4.wgsl';
import toNf4F32 from '../../shaders/quantize/nf4_f32.wgsl';
import toNvfp4 from '../../shaders/quantize/nvfp4.wgsl';
import toQ2K from '../../shaders/quantize/q2_k.wgsl';
import toQ3K from '../../shaders/quantize/q3_k.wgsl';
import toQ40 from '../../shaders/quantize/q4_0.wgsl';
import searchQ40 from '../../shaders/quantize/q4_0_search.wgsl';
import toQ41 from '../../shaders/quantize/q4_1.wgsl';
import searchQ41 from '../../shaders/quantize/q4_1_search.wgsl';
import toQ4K from '../../shaders/quantize/q4_k.wgsl';
import toQ50 from '../../shaders/quantize/q5_0.wgsl';
import searchQ50 from '../../shaders/quantize/q5_0_search.wgsl';
import toQ51 from '../../shaders/quantize/q5_1.wgsl';
import searchQ51 from '../../shaders/quantize/q5_1_search.wgsl';
import toQ5K from '../../shaders/quantize/q5_k.wgsl';
import toQ6K from '../../shaders/quantize/q6_k.wgsl';
import toQ80 from '../../shaders/quantize/q8_0.wgsl';
import searchQ80 from '../../shaders/quantize/q8_0_search.wgsl';
import toBf16 from '../../shaders/quantize/to_bf16.wgsl';
import toF16 from '../../shaders/quantize/to_f16.wgsl';
import toF32 from '../../shaders/quantize/to_f32.wgsl';
import toTq10 from '../../shaders/quantize/tq1_0.wgsl';
import toTq20 from '../../shaders/quantize/tq2_0.wgsl';
import toW8A8 from '../../shaders/quantize/w8a8.wgsl';
import toW8A8Static from '../../shaders/quantize/w8a8_static.wgsl';
import { ArgumentError, FormatError } from '../errors.ts';
import { checkRow, nonFinite } from '../formats/checks.ts';
import { type Format, isSparse, type QuantizeMethod } from '../formats/format.ts';
import { arrayBytes, formatBytes, shaderConstants } from '../formats/layout.ts';
import { methodSearches } from '../formats/methods.ts';
import { type BufferView, grid1d, packParams, read, readWrite, type Step } from '../gpu/kernel.ts';
import type { ShaderSource } from '../gpu/shader-source.ts';
import { bindArray, bindArrays, type DeviceArrays } from './bind-arrays.ts';
import { doubleQuantizeSteps } from './double-quantize.ts';
import { float8Quantizer } from './float8-quantizer.ts';
import { integerQuantizer } from './integer-quantizer.ts';

const WORKGROUP = 64;

/** Kernels index weights with 32 bits, and the report of a bad weight keeps one value for "none". */
const MAX_WEIGHTS = 2 ** 32 - 4;

/** How a format is made from dense weights. */
export interface Quantizer {
  readonly source: ShaderSource;
  readonly constants: Readonly<Record<string, number>>;
  /** Weights that one thread owns: enough blocks that it writes whole words. */
  readonly weightsPerThread: number;
  /** The kernel has a binding for the importance of columns behind `bad`, and an override WEIGHTED. */
  readonly weighs?: true;
  /** A workgroup owns a row instead. */
  readonly wholeRows?: true;
}

const DENSE: Readonly<Record<string, ShaderSource>> = { f32: toF32, f16: toF16, bf16: toBf16 };

/** Those of ggml and others that have a kernel of their own, with the blocks that a thread owns. */
const BLOCKS: Readonly<Record<string, readonly [ShaderSource, number]>> = {
  q4_0: [toQ40, 2],
  q4_1: [toQ41, 2],
  q5_0: [toQ50, 2],
  q5_1: [toQ51, 2],
  q8_0: [toQ80, 2],
  q2_k: [toQ2K, 1],
  q3_k: [toQ3K, 2],
  q4_k: [toQ4K, 1],
  q5_k: [toQ5K, 1],
  q6_k: [toQ6K, 2],
  iq4_nl: [toIq4Nl, 2],
  iq4_xs: [toIq4Xs, 2],
  tq1_0: [toTq10, 2],
  tq2_0: [toTq20, 2],
  mxfp4: [toMxfp4, 4],
  nvfp4: [toNvfp4, 1],
  'nf4-f32': [toNf4F32, 1],
};

/** The kernels of the method `search` where they are others than those of `rtn`. */
const SEARCHES: Readonly<Record<string, ShaderSource>> = {
  q4_0: searchQ40,
  q4_1: searchQ41,
  q5_0: searchQ50,
  q5_1: searchQ51,
  q8_0: searchQ80,
};

/** Formats whose one kernel searches where its override SEARCH says so. */
const FLOAT4 = ['mxfp4', 'nvfp4'];

function blockQuantizer(format: Format, source: ShaderSource, weightsPerThread: number, search: boolean): Quantizer {
  if (FLOAT4.includes(format.name)) {
    return { source, constants: { SEARCH: Number(search) }, weightsPerThread, weighs: true };
  }
  if (format.searched) return { source, constants: {}, weightsPerThread, weighs: true };
  if (search) return { source: SEARCHES[format.name]!, constants: {}, weightsPerThread, weighs: true };
  return { source, constants: {}, weightsPerThread };
}

function quantizerOf(format: Format, k: number, method: QuantizeMethod = 'rtn', search = false): Quantizer {
  if (isSparse(format)) {
    const step = format.packed ? 'packSparseStep' : 'gatherBlocksStep';
    throw new ArgumentError(`Weights become ${format.name} by ${step} (compressa/sparse).`);
  }
  const dense = DENSE[format.name];
  if (dense) return { source: dense, constants: {}, weightsPerThread: 4 };
  const known = BLOCKS[format.name];
  if (known) return blockQuantizer(format, known[0], known[1] * format.block, search);
  if (format.activations) {
    const source = format.activations === 'static' ? toW8A8Static : toW8A8;
    return { source, constants: {}, weightsPerThread: 1, wholeRows: true };
  }
  if (format.float8) return float8Quantizer(format, k);
  return integerQuantizer(format, k, method);
}

/** What quantizing a matrix, or some of its rows, reads and writes. */
export interface QuantizeArguments {
  /** Format of `from`: dense. */
  readonly source: Format;
  /** The dense matrix, row-major, without padding between rows. */
  readonly from: BufferView;
  readonly format: Format;
  /** Receives the arrays of `format`, each of at least `arrayBytes(array, rows, k)` bytes. */
  readonly to: DeviceArrays;
  readonly rows: number;
  readonly k: number;
  /**
   * Four bytes, zero before the first step that shares them: receives the complement of the index (row · k + column) of
   * the first weight that is NaN or infinite, and stays zero where there is none. What the other arrays hold is then
   * undefined. Read it with `throwIfNonFinite`.
   */
  readonly bad: BufferView;
  /** Names the tensor in labels and errors. */
  readonly name?: string;
  /**
   * How scales are chosen: by the format's rule (`rtn`, the default), with the least squared error among trial scales (`search`), where the
   * format offers it (`searches`), or by that rule with zero points of half-quadratic quantization (`hqq`; `hqqProblem` says for which formats).
   * Formats that are `searched` search in either case.
   */
  readonly method?: QuantizeMethod;
  /**
   * For `search`: the weight of each column's squared error, f32 [k], finite and not negative (`checkImportance` holds numbers on the
   * host to it). What is below 2^-126 counts as zero; all zero is the same as none. Where the format offers it (`weighs`).
   */
  readonly importance?: BufferView;
}

/**
 * Converts a dense matrix to `format` (dense to dense too). Codes, scales, zeros and minima equal `format.reference.quantize` bit
 * for bit on every device, unless they are searched for or moved by `hqq`.
 * @throws FormatError when `k` is no multiple of the block and for formats whose scales are quantized as well (`quantizeSteps`), ArgumentError for
 * shapes and buffers that do not fit, for a method that the format does not offer, and for an importance where it takes none.
 */
export function quantizeStep(args: QuantizeArguments): Step {
  const { source, from, format, to, rows, k, bad, name = 'weight', method, importance } = args;
  if (source.kind !== 'dense') throw new ArgumentError(`Only dense weights can be quantized, not ${source.name}.`);
  if (format.single) {
    throw new FormatError(`Quantizing ${name} to ${format.name} takes several steps: use quantizeSteps.`);
  }
  checkRow(format, k, name);
  const search = methodSearches(format, method, importance !== undefined);
  return convertStep({
    label: `quantize ${name} to ${format.name}`,
    quantizer: quantizerOf(format, k, method, search),
    importance,
    source,
    from: [from],
    format,
    to,
    rows,
    k,
    bad,
  });
}

/** Bytes that `quantizeSteps` needs for the scales of a format that are quantized in their turn; 0 for others. */
export function scaleRoomBytes({ single }: Format, rows: number, k: number): number {
  const scales = single?.arrays.find((array) => array.name === 'scales');
  return scales ? arrayBytes(scales, rows, k) : 0;
}

/**
 * Steps that convert a dense matrix, which has to be a whole one where the format's scales are quantized all together (`single`).
 * @param args `scaleRoom`: `scaleRoomBytes` bytes, where that is not 0
 * @throws as `quantizeStep` does, for all formats
 */
export function quantizeSteps(args: QuantizeArguments & { readonly scaleRoom?: BufferView | undefined }): Step[] {
  const { format, to, rows, k, name = 'weight', method, importance, scaleRoom } = args;
  const { single } = format;
  if (!single) return [quantizeStep(args)];
  checkRow(format, k, name);
  methodSearches(format, method, importance !== undefined);
  const label = `quantize ${name} to ${format.name}`;
  const [codes, scales, nested] = bindArrays(label, format, to, rows, k, readWrite);
  if (!scaleRoom) throw new ArgumentError(`${label}: give "scaleRoom" of ${scaleRoomBytes(format, rows, k)} bytes.`);
  return [
    quantizeStep({ ...args, format: single, to: [codes!, scaleRoom] }),
    ...doubleQuantizeSteps({
      ...{ scales: scaleRoom, groups: (rows * k) / format.block, codes: scales!, nested: nested!, name },
    }),
  ];
}

/** What expanding a quantized matrix reads and writes. */
export interface DequantizeArguments {
  readonly format: Format;
  /** The arrays of `format`, in its order. */
  readonly from: DeviceArrays;
  /** What to expand to: `f32` (exact), `f16` or `bf16` (rounded to nearest, ties to even; saturated). */
  readonly target: Format;
  readonly to: BufferView;
  readonly rows: number;
  readonly k: number;
  /** As in `QuantizeArguments`: a scale that is NaN or infinite, say from a damaged file, shows here. */
  readonly bad: BufferView;
  readonly name?: string;
}

/**
 * Expands a weight of any format to a dense matrix, row-major.
 * @throws FormatError when `k` is no multiple of the block, ArgumentError for shapes and buffers that do not fit.
 */
export function dequantizeStep(args: DequantizeArguments): Step {
  const { format, from, target, to, rows, k, bad, name = 'weight' } = args;
  if (target.kind !== 'dense') throw new ArgumentError(`Weights are expanded to a dense format, not ${target.name}.`);
  checkRow(format, k, name);
  const label = `dequantize ${name} to ${target.name}`;
  return convertStep({
    label,
    quantizer: quantizerOf(target, k),
    source: format,
    from,
    format: target,
    to: [to],
    rows,
    k,
    bad,
  });
}

function convertStep(args: {
  label: string;
  quantizer: Quantizer;
  source: Format;
  from: DeviceArrays;
  format: Format;
  to: DeviceArrays;
  rows: number;
  k: number;
  bad: BufferView;
  importance?: BufferView | undefined;
}): Step {
  const { label, quantizer, source, from, format, to, rows, k, bad, importance } = args;
  const count = rows * k;
  if (isSparse(source))
    throw new ArgumentError(`${label}: packed weights are not expanded, but N:M by unpackSparseStep.`);
  if (!Number.isInteger(count) || count < 1 || count > MAX_WEIGHTS) {
    throw new ArgumentError(`${label}: ${rows} x ${k} weights; one step takes 1 to ${MAX_WEIGHTS}.`);
  }
  const bindings = [...bindArrays(label, format, to, rows, k, readWrite), readWrite({ ...bad, size: 4 })];
  const constants: Record<string, number> = { ...shaderConstants(source, k), ...quantizer.constants, WORKGROUP };
  if (quantizer.weighs) {
    constants.WEIGHTED = importance ? 1 : 0;
    // Without one its binding is never read: any buffer that is only read will do.
    bindings.push(
      importance ? bindArray(label, 'importance', importance, 4 * k, read) : read({ ...from[0]!, size: 16 }),
    );
  }
  return {
    label,
    kernel: { source: quantizer.source, format: source.shader, constants },
    bindings,
    weight: bindArrays(label, source, from, rows, k, read),
    params: packParams(count, k),
    grid: grid1d(quantizer.wholeRows ? rows : Math.ceil(count / quantizer.weightsPerThread / WORKGROUP)),
    bytes: formatBytes(source, rows, k) + formatBytes(format, rows, k),
  };
}

/**
 * Reads the word that `bad` of a step holds, as brought back to the host.
 * @throws NonFiniteError naming tensor, row and column.
 */
export function throwIfNonFinite(bad: number, k: number, name: string): void {
  if (bad !== 0) throw nonFinite(~bad >>> 0, k, 'is NaN or infinite', name);
}
