import type { Format } from '../../formats/format.ts';
import { formatByName } from '../../formats/registry.ts';
import type { Gpu } from '../../gpu/gpu.ts';
import type { BufferView, Step } from '../../gpu/kernel.ts';
import { Scratch } from '../../gpu/scratch.ts';
import type { DeviceArrays } from '../../kernels/bind-arrays.ts';
import { linearSteps } from '../../kernels/linear.ts';
import { usualVariant } from '../../kernels/linear-variants.ts';
import { dequantizeStep } from '../../kernels/quantize.ts';
import { differenceStep, rowProductsStep, scaleColumnsStep } from '../../kernels/rows.ts';
import { wrapDense } from '../../kernels/weight.ts';

/** Some rows of a matrix on the GPU: f32 [rows, k]. */
export interface DenseRows {
  readonly view: BufferView;
  readonly rows: number;
  readonly k: number;
}

/** A change of some rows, and what weighs it. */
export interface MatrixErrorArguments {
  /** The rows as they were. */
  readonly dense: DenseRows;
  /** What takes their place; without, ΔW is W itself. */
  readonly quantized?: { readonly format: Format; readonly arrays: DeviceArrays };
  /** f32 [k, k]; without, the plain squared error. */
  readonly hessian?: BufferView | undefined;
  /** f32 [k]: what ΔW's columns are multiplied by, where W is one whose columns were scaled. */
  readonly columns?: BufferView | undefined;
}

/** Where errors are computed: two times f32 [rows, k], a word, and the errors themselves, f32 [rows]. */
export interface ErrorRoom {
  readonly rooms: readonly [BufferView, BufferView];
  readonly bad: BufferView;
  readonly out: BufferView;
}

/** @throws OutOfMemoryError */
export function errorRoom(scratch: Scratch, { rows, k }: DenseRows): ErrorRoom {
  const room = (label: string) => scratch.room(4 * rows * k, label);
  return {
    rooms: [room('values'), room('lost')],
    bad: scratch.upload(Uint32Array.of(0), 'bad'),
    out: scratch.room(4 * rows, 'errors of rows'),
  };
}

/** Steps that leave the error of each row, as `matrixError` sums them, in `out`. */
export function matrixErrorSteps(
  gpu: Gpu,
  { dense: { view, rows, k }, quantized, hessian, columns }: MatrixErrorArguments,
  { rooms: [values, difference], bad, out }: ErrorRoom,
): Step[] {
  let [lost, free] = [view, values];
  const steps: Step[] = [];
  const take = (): BufferView => {
    const taken = free;
    free = taken === values ? difference : values;
    return taken;
  };
  if (quantized) {
    const { format, arrays } = quantized;
    const target = formatByName('f32');
    const stored = take();
    lost = take();
    steps.push(
      dequantizeStep({ format, from: arrays, target, to: stored, rows, k, bad }),
      differenceStep({ a: view, b: stored, out: lost, count: rows * k }),
    );
  }
  if (columns) {
    const scaled = take();
    steps.push(scaleColumnsStep({ x: lost, factors: columns, out: scaled, rows, width: k }));
    lost = scaled;
  }
  let weighted = lost;
  if (hessian) {
    weighted = take();
    const weight = wrapDense(hessian.buffer, k, k, 'f32', hessian.offset);
    const variant = usualVariant(gpu, { rows: k, k, tokens: rows }, weight.format);
    steps.push(...linearSteps({ x: lost, weight, y: weighted, tokens: rows, variant, label: 'lost times H' }));
  }
  steps.push(rowProductsStep({ a: lost, b: weighted, out, rows, width: k }));
  return steps;
}

/**
 * tr(ΔW H ΔWᵀ), summed over rows in f64: what replacing the rows by their quantized form costs, mean squared output by mean squared output.
 * @throws OutOfMemoryError, DeviceLostError
 */
export async function matrixError(gpu: Gpu, args: MatrixErrorArguments): Promise<number> {
  const scratch = new Scratch(gpu);
  try {
    const room = errorRoom(scratch, args.dense);
    await gpu.scheduler.run(matrixErrorSteps(gpu, args, room));
    return sumOfRows(new Float32Array((await gpu.readBack(room.out.buffer, 0, 4 * args.dense.rows)).buffer));
  } finally {
    scratch.release();
  }
}

export const sumOfRows = (errors: Float32Array): number => errors.reduce((sum, value) => sum + value, 0);
