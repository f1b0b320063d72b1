import type { Format, HostArrays } from '../../formats/format.ts';
import { COLUMNS } from '../../formats/packed.ts';
import { formatByName } from '../../formats/registry.ts';
import type { Gpu } from '../../gpu/gpu.ts';
import type { BufferView } from '../../gpu/kernel.ts';
import { Scratch } from '../../gpu/scratch.ts';
import { packSparseStep, unpackSparseStep } from '../../kernels/pack-sparse.ts';
import { dequantizeStep, quantizeStep } from '../../kernels/quantize.ts';
import { differenceStep } from '../../kernels/rows.ts';
import { allocateRows, type DeviceRows } from '../device-arrays.ts';
import type { CompressedRows, Inputs } from '../methods/compress-rows.ts';
import type { FactoredHessian } from '../methods/factored-hessian.ts';
import { gptq } from '../methods/gptq.ts';
import { type DenseRows, matrixError } from '../methods/matrix-error.ts';
import { startOf } from '../methods/method.ts';

/** Rounds of refinement where none are asked for: what pruning takes away needs more of them than codes do (test/gpu/prune/swept-rows.test.ts). */
export const SWEPT_ROUNDS = 8;

/** Rows that were pruned, with what a sweep over the original ones needs. */
export interface SweptSlice extends DenseRows {
  readonly mask: BufferView;
  /** f32 [rows, k]: before anything was pruned. */
  readonly original: BufferView;
}

/**
 * Prunes and quantizes some rows in one sweep: in each column the weights that the mask leaves out become 0, the others get codes, and the columns after it make up for
 * what both have lost. Scales start from what pruning, and its repair, left; where there was one, so do codes. Pruning first and rounding what is left to nearest is measured beside it, and taken where it
 * loses less; errors are of both together.
 * @param format of all weights, or packed
 * @throws FormatError, OutOfMemoryError, DeviceLostError, CancelledError
 */
export async function sweptRows(
  gpu: Gpu,
  slice: SweptSlice,
  format: Format,
  { rounds, correct = 0, repaired }: { readonly rounds: number; readonly correct?: number; readonly repaired: boolean },
  { hessian, factored, correction, importance }: Inputs & { readonly factored: FactoredHessian },
  signal?: AbortSignal,
): Promise<CompressedRows> {
  const { rows, k, mask } = slice;
  const { packed } = format;
  const codes = packed?.values ?? format;
  const packing = packed?.layout(rows, k);
  const slots = packing?.slots ?? k;
  const f32 = formatByName('f32');
  const scratch = new Scratch(gpu);
  const made: DeviceRows[] = [];
  const run = (steps: Parameters<typeof gpu.scheduler.run>[0]) => gpu.scheduler.run(steps, signal && { signal });
  try {
    const original = { view: slice.original, rows, k };
    if (correction && correct > 0) await correction.apply(original, correct, signal);
    const columns = packing && scratch.room(4 * packing.bands * packing.words, COLUMNS);
    const kept = columns ? scratch.room(4 * rows * slots, 'kept weights') : slice.view;
    if (packed && columns) {
      const to = { format: f32, values: [kept], columns, becomes: codes };
      await run([packSparseStep({ source: f32, from: slice.view, mask, pattern: packed.pattern, rows, k, ...to })]);
    }
    // Slots are other columns in every row.
    const weights = packing ? undefined : scratch.upload(importance, 'importance');
    const quantized = async ({ method, weighted }: ReturnType<typeof startOf>): Promise<DeviceRows> => {
      const result = allocateRows(gpu, codes, rows, slots, codes.name);
      made.push(result);
      const to = { format: codes, to: result.arrays, rows, k: slots, bad: result.bad };
      await run([
        quantizeStep({
          ...{ source: f32, from: kept, ...to, method },
          ...(weighted && weights && { importance: weights }),
        }),
      ]);
      return result;
    };
    const [values, lost] = ['values', 'lost'].map((label) => scratch.room(4 * rows * k, label)) as [
      BufferView,
      BufferView,
    ];
    const bad = scratch.upload(Uint32Array.of(0), 'bad');
    const errorOf = async ({ arrays }: DeviceRows): Promise<number> => {
      const expanded =
        packed && columns
          ? unpackSparseStep({ format: codes, values: arrays, columns, pattern: packed.pattern, rows, k, to: values })
          : dequantizeStep({ format: codes, from: arrays, target: f32, to: values, rows, k, bad });
      await run([expanded, differenceStep({ a: original.view, b: values, out: lost, count: rows * k })]);
      return matrixError(gpu, { dense: { view: lost, rows, k }, hessian });
    };
    const rounded = await quantized({ method: 'rtn', weighted: false });
    const swept = await quantized(startOf('gptq', codes));
    await gptq(gpu, original, codes, swept.arrays, factored, {
      rounds,
      masked: { mask, packing, repaired: repaired ? slice.view : undefined },
      ...(signal && { signal }),
    });
    const rtn = await errorOf(rounded);
    const found = await errorOf(swept);
    const fellBack = found > rtn;
    const { arrays } = await (fellBack ? rounded : swept).read();
    const places: HostArrays =
      columns && packing
        ? { [COLUMNS]: await gpu.readBack(columns.buffer, columns.offset ?? 0, 4 * packing.bands * packing.words) }
        : {};
    const all = await matrixError(gpu, { dense: original, hessian });
    return { arrays: { ...arrays, ...places }, errors: { rtn, chosen: fellBack ? rtn : found, all }, fellBack };
  } finally {
    for (const rowsOnDevice of made) rowsOnDevice.release();
    scratch.release();
  }
}
