import { sourceRow } from '../files/gguf/row-order.ts';
import { quote } from '../files/text.ts';
import { type Format, type HostArrays, valuesOf } from '../formats/format.ts';
import { allocateArrays, arrayBytes, contentBytes } from '../formats/layout.ts';
import { formatByName } from '../formats/registry.ts';
import { denseRows } from './dense-rows.ts';
import { type DenseSlice, denseSlices } from './dense-slices.ts';
import { compressRows, type Inputs } from './methods/compress-rows.ts';
import { defaultRounds } from './methods/method.ts';
import { roundWhole } from './methods/round-whole.ts';
import type { PlannedTensor } from './plan.ts';
import { type BlockRows, blockRows, joinBlocks } from './pruning/block-rows.ts';
import type { Threshold } from './pruning/find-mask.ts';
import { packedRows } from './pruning/packed-rows.ts';
import type { PruneInputs } from './pruning/prune-rows.ts';
import { type PrunedSlice, prunedSlices, type SliceSource } from './pruning/pruned-slices.ts';
import { SWEPT_ROUNDS, sweptRows } from './pruning/swept-rows.ts';
import { denseFormatOf } from './stored-weight.ts';

/** What quantizing a matrix cost, relative to leaving it out: tr(ΔW H ΔWᵀ) / tr(W H Wᵀ). */
export interface MatrixErrors {
  readonly rtn: number;
  readonly chosen: number;
}

/** What a matrix lost on its way. */
export interface MatrixLosses {
  /** Where it was quantized: of what pruning left, or where one sweep did both, all of it. */
  readonly quantized?: MatrixErrors;
  /** Where it was pruned: the share of weights that are gone, and what that costs. */
  readonly pruned?: { readonly sparsity: number; readonly error: number };
  /** Where it became factors: what all of it costs. */
  readonly factored?: { readonly error: number };
}

/** What is known of the inputs of a matrix that is quantized, pruned or both. */
export interface MatrixInputs {
  readonly quantize: Inputs;
  readonly prune?: PruneInputs | undefined;
}

/** The format in which the output holds a dense matrix. */
export function outputFormat({ target, weight, gguf, factors }: PlannedTensor): Format {
  // What it stands for takes part.
  if (factors) return formatByName('f32');
  if (target) return target;
  if (weight.kind !== 'dense') throw new Error('The weight is not dense.');
  return gguf?.toF32 ? formatByName('f32') : denseFormatOf(weight.info.type)!;
}

/**
 * A whole matrix, pruned and quantized as its plan says, in the order of the checkpoint, some rows at a time.
 * @throws NonFiniteError, FileError, ArgumentError, CancelledError, OutOfMemoryError, DeviceLostError
 */
export async function compressMatrix(
  source: SliceSource & { readonly notice: (text: string) => void },
  tensor: PlannedTensor,
  inputs: MatrixInputs,
  { correct, threshold }: { readonly correct: number; readonly threshold?: Threshold | undefined },
): Promise<{ readonly arrays: HostArrays; readonly lost: MatrixLosses }> {
  const { gpu, checkpoint, signal, notice } = source;
  const { name, weight, method = 'rtn', refine } = tensor;
  if (weight.kind !== 'dense') throw new Error(`${name} is not dense.`);
  const format = outputFormat(tensor);
  const [rows, k] = weight.shape as [number, number];
  const whole = format.blocks ? undefined : allocateArrays(format.arrays, rows, k);
  const blocks: BlockRows[] = [];
  const sums = { rtn: 0, chosen: 0, all: 0, pruned: 0, before: 0, kept: 0 };
  let fellBack = 0;
  const rounded = format.single && (await roundWhole(gpu, checkpoint, weight.info, format, signal));
  const { factored } = inputs.quantize;
  const swept = tensor.prune !== undefined && method === 'gptq' && factored !== undefined;
  const slices: AsyncIterable<DenseSlice & Partial<PrunedSlice>> = tensor.prune
    ? prunedSlices(source, tensor, format, inputs.prune ?? {}, threshold, swept)
    : denseSlices(gpu, checkpoint, weight.info, format, signal);
  for await (const slice of slices) {
    if (slice.pruned) {
      sums.kept += slice.pruned.kept;
      sums.pruned += slice.pruned.errors.pruned;
      sums.before += slice.pruned.errors.all;
    }
    const how = {
      ...{ method, rounds: refine ?? (swept ? SWEPT_ROUNDS : defaultRounds(method)), correct },
      ...(rounded && { rounded: rowsOf(format, rounded, slice) }),
    };
    const { mask, original } = slice;
    const piece = mask && format.blocks && (await blockRows(gpu, slice, mask, format, how, signal));
    if (piece) blocks.push(piece);
    const result = await (piece ??
      (mask && original
        ? sweptRows(
            gpu,
            { ...slice, mask, original },
            format,
            { ...how, repaired: inputs.prune?.repair !== undefined },
            { ...inputs.quantize, factored: factored! },
            signal,
          )
        : mask
          ? packedRows(gpu, slice, mask, format, how, signal)
          : format.kind === 'dense'
            ? denseRows(gpu, slice, format, signal)
            : compressRows(gpu, slice, format, how, inputs.quantize, signal)));
    if (whole) {
      for (const array of format.arrays) {
        const part = result.arrays[array.name]!.subarray(0, contentBytes(array, slice.rows, k));
        whole[array.name]!.set(part, contentBytes(array, slice.rowStart, k));
      }
    }
    sums.rtn += result.errors.rtn;
    sums.chosen += result.errors.chosen;
    sums.all += result.errors.all;
    if (result.fellBack) fellBack += slice.rows;
  }
  if (fellBack > 0) {
    const which = fellBack === rows ? 'its rows are' : `${fellBack} of its ${rows} rows are`;
    notice(`${quote(name)}: ${which} rounded to nearest, which loses less than ${method}.`);
  }
  const share = (error: number, all: number) => (all > 0 ? error / all : 0);
  return {
    arrays: whole ?? joinBlocks(format, blocks),
    lost: {
      ...(valuesOf(format).kind === 'block' && {
        quantized: { rtn: share(sums.rtn, sums.all), chosen: share(sums.chosen, sums.all) },
      }),
      ...(tensor.prune && {
        pruned: { sparsity: 1 - sums.kept / (rows * k), error: share(sums.pruned, sums.before) },
      }),
    },
  };
}

/** Some rows of a weight, which start where it may be cut. */
export function rowsOf(
  format: Format,
  arrays: HostArrays,
  { rowStart, rows, k }: Pick<DenseSlice, 'rowStart' | 'rows' | 'k'>,
): HostArrays {
  const parts = format.arrays.map((array) => {
    const start = contentBytes(array, rowStart, k);
    return [array.name, arrays[array.name]!.slice(start, start + contentBytes(array, rows, k))] as const;
  });
  return Object.fromEntries(parts);
}

/** The arrays without padding, rows in the order of the output. */
export function inOutputOrder(tensor: PlannedTensor, arrays: HostArrays): Uint8Array[] {
  const [rows, k] = tensor.weight.shape as [number, number];
  return outputFormat(tensor).arrays.map((array) => {
    const bytes = arrays[array.name]!.subarray(0, contentBytes(array, rows, k));
    const order = tensor.gguf?.order;
    if (!order) return bytes;
    const rowBytes = arrayBytes(array, rows, k) / rows;
    const out = new Uint8Array(bytes.length);
    for (let row = 0; row < rows; row++) {
      const at = sourceRow(order, row) * rowBytes;
      out.set(bytes.subarray(at, at + rowBytes), row * rowBytes);
    }
    return out;
  });
}
