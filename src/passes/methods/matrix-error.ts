import type { Format } from '../../formats/format.ts';
import { formatByName } from '../../formats/registry.ts';
import type { Gpu } from '../../gpu/gpu.ts';
import type { BufferView } from '../../gpu/kernel.ts';
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

/**
 * tr(ΔW H ΔWᵀ), summed over rows in f64: what replacing the rows by their quantized form costs, mean squared output by mean squared output. Without H
 * the plain squared error. With no arrays, ΔW is W itself.
 * @throws OutOfMemoryError, DeviceLostError
 */
export async function matrixError(
  gpu: Gpu,
  { view, rows, k }: DenseRows,
  quantized: { readonly format: Format; readonly arrays: DeviceArrays } | undefined,
  hessian: BufferView | undefined,
  /** f32 [k]: what ΔW's columns are multiplied by, where W is one whose columns were scaled. */
  columns?: BufferView,
): Promise<number> {
  const scratch = new Scratch(gpu);
  const room = (label: string) => scratch.room(4 * rows * k, label);
  try {
    let lost = view;
    const steps = [];
    if (quantized) {
      const { format, arrays } = quantized;
      const values = room('values');
      lost = room('lost');
      const bad = scratch.upload(Uint32Array.of(0), 'bad');
      const target = formatByName('f32');
      steps.push(
        dequantizeStep({ format, from: arrays, target, to: values, rows, k, bad }),
        differenceStep({ a: view, b: values, out: lost, count: rows * k }),
      );
    }
    if (columns) {
      const scaled = room('lost, scaled');
      steps.push(scaleColumnsStep({ x: lost, factors: columns, out: scaled, rows, width: k }));
      lost = scaled;
    }
    let weighted = lost;
    if (hessian) {
      weighted = room('lost times H');
      const weight = wrapDense(hessian.buffer, k, k, 'f32', hessian.offset);
      const variant = usualVariant(gpu, { rows: k, k, tokens: rows });
      steps.push(...linearSteps({ x: lost, weight, y: weighted, tokens: rows, variant, label: 'lost times H' }));
    }
    const out = scratch.room(4 * rows, 'errors of rows');
    steps.push(rowProductsStep({ a: lost, b: weighted, out, rows, width: k }));
    await gpu.scheduler.run(steps);
    const sums = new Float32Array((await gpu.readBack(out.buffer, 0, 4 * rows)).buffer);
    return sums.reduce((sum, value) => sum + value, 0);
  } finally {
    scratch.release();
  }
}
