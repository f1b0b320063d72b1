import type { Checkpoint } from '../../files/checkpoint.ts';
import { ELEMENT_BYTES } from '../../files/element-type.ts';
import { sourceRow } from '../../files/gguf/row-order.ts';
import type { ElementType, HostArrays } from '../../formats/format.ts';
import { rowMultiple } from '../../formats/layout.ts';
import { outputFormat, rowsOf } from '../compress-matrix.ts';
import type { PlannedTensor } from '../plan.ts';
import { chunkRows, denseFormatOf, readValues } from '../stored-weight.ts';

/**
 * What a matrix has lost on the mean input: (W − W') mean(x), what its bias has to grow by so that the mean of the outputs stays.
 * @param arrays of W' in the format of its output, in the order of the checkpoint
 * @param mean f32 [k]
 * @throws FileError, CancelledError
 */
export async function meanLoss(
  checkpoint: Pick<Checkpoint, 'read' | 'name'>,
  tensor: PlannedTensor,
  arrays: HostArrays,
  mean: Float32Array,
  signal?: AbortSignal,
): Promise<Float64Array> {
  const { weight } = tensor;
  if (weight.kind !== 'dense') throw new Error(`${tensor.name} is not dense.`);
  const [rows, k] = weight.shape as [number, number];
  const format = outputFormat(tensor);
  const multiple = rowMultiple(format, k);
  const step = Math.ceil(chunkRows(4 * k) / multiple) * multiple;
  const lost = new Float64Array(rows);
  for (let rowStart = 0; rowStart < rows; rowStart += step) {
    const count = Math.min(step, rows - rowStart);
    const before = await readValues(checkpoint, weight, rowStart, count, signal);
    const after = format.reference.dequantize(rowsOf(format, arrays, { rowStart, rows: count, k }), count, k);
    for (let row = 0; row < count; row++) {
      let sum = 0;
      for (let i = 0; i < k; i++) sum += (before[row * k + i]! - after[row * k + i]!) * mean[i]!;
      lost[rowStart + row] = sum;
    }
  }
  return lost;
}

/** A bias, changed, as its output holds it, and the values that it has then. */
export interface CompensatedBias {
  /** In the order of the output. */
  readonly bytes: Uint8Array;
  readonly values: Float32Array;
}

/** @param lost undefined: it stays as it is. @throws FileError, CancelledError */
export async function compensatedBias(
  checkpoint: Pick<Checkpoint, 'read' | 'name'>,
  { name, weight, gguf }: PlannedTensor,
  lost: Float64Array | undefined,
  signal?: AbortSignal,
): Promise<CompensatedBias> {
  if (weight.kind !== 'dense') throw new Error(`${name} is not dense.`);
  const before = await readValues(checkpoint, weight, 0, undefined, signal);
  const wanted = before.map((value, i) => value + (lost?.[i] ?? 0));
  const type: ElementType = gguf?.toF32 ? 'F32' : weight.info.type;
  const format = denseFormatOf(type)!;
  const arrays = format.reference.quantize(wanted, 1, wanted.length);
  const { order } = gguf ?? {};
  const size = ELEMENT_BYTES[type];
  const data = arrays.data!;
  const bytes = new Uint8Array(wanted.length * size);
  for (let at = 0; at < wanted.length; at++) {
    const from = (order ? sourceRow(order, at) : at) * size;
    bytes.set(data.subarray(from, from + size), at * size);
  }
  return { bytes, values: format.reference.dequantize(arrays, 1, wanted.length) };
}
