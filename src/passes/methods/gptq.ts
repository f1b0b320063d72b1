import type { Format } from '../../formats/format.ts';
import type { Gpu } from '../../gpu/gpu.ts';
import type { Step } from '../../gpu/kernel.ts';
import { Scratch } from '../../gpu/scratch.ts';
import type { DeviceArrays } from '../../kernels/bind-arrays.ts';
import { CODES_BLOCK, chooseCodesSteps, levelTable } from '../../kernels/choose-codes.ts';
import { gridStep } from '../../kernels/grid.ts';
import { packStep } from '../../kernels/pack.ts';
import { gatherColumnsStep, scatterCodesStep } from '../../kernels/permute.ts';
import { codeErrorsStep, refitSteps, scaleStoredStep } from '../../kernels/refit.ts';
import type { FactoredHessian } from './factored-hessian.ts';
import type { DenseRows } from './matrix-error.ts';
import { storedScales } from './stored-scales.ts';

export interface GptqOptions {
  /** Rounds of refinement behind the pass: scales re-fitted with codes fixed, then each code chosen anew under all others. Default 3. */
  readonly rounds?: number;
  readonly signal?: AbortSignal;
}

const ROUNDS = 3;
/** Of conjugate gradients: with the diagonal as preconditioner, three leave less than 1% of what could be gained. */
const ITERATIONS = 3;

/**
 * Chooses the codes of some rows by GPTQ under the scales that `arrays` hold (static groups, act-order), then refines both in rounds. Works on any
 * format with a grid; scales are re-fitted where the format stores them as floats.
 * @param arrays quantized already; codes and scales are replaced
 * @throws FormatError for a format without a grid; OutOfMemoryError, DeviceLostError, CancelledError
 */
export async function gptq(
  gpu: Gpu,
  { view, rows, k }: DenseRows,
  format: Format,
  arrays: DeviceArrays,
  hessian: FactoredHessian,
  { rounds = ROUNDS, signal }: GptqOptions = {},
): Promise<void> {
  const scratch = new Scratch(gpu);
  const columns = (label: string) => scratch.room(4 * rows * k, label);
  try {
    const grid = format.grid!;
    const scales = scratch.room((8 * rows * k) / grid.group, 'scales');
    const chosen = columns('codes in order');
    const { order, place } = hessian;
    const inOrder = { weights: columns('weights in order'), errors: columns('errors'), order, place, rows, k };
    const codes = scratch.room(Math.ceil((rows * k) / 4) * 4, 'codes');
    const product = scratch.room(4 * CODES_BLOCK * rows, 'products');
    const table = scratch.upload(levelTable(grid), 'levels in order');
    const choose = (pass: 'factor' | 'descent'): Step[] =>
      chooseCodesSteps({
        ...inOrder,
        matrix: pass === 'factor' ? hessian.factor : hessian.matrix,
        ...{ pass, scales, gridRows: rows, grid, table, chosen, scratch: product },
      });
    const run = (steps: readonly Step[]) =>
      gpu.scheduler.run(steps, { label: 'The quantization', ...(signal && { signal }) });

    gpu.clear(inOrder.errors.buffer, 4 * rows * k);
    await run([
      gridStep({ format, from: arrays, to: scales, rows, k }),
      gatherColumnsStep({ weights: view, order, out: inOrder.weights, rows, k }),
      ...choose('factor'),
    ]);
    const stored = storedScales(format, k);
    const levels = scratch.upload(Float32Array.from(grid.levels), 'levels');
    const rooms: readonly [typeof chosen, typeof chosen] | undefined =
      stored && rounds > 0 ? [columns('values'), columns('products with H')] : undefined;
    const units = stored ? k / stored.unit : 0;
    const system = () => scratch.room(4 * units * rows, 'systems');
    const systems = rooms && ([system(), system(), system(), system(), system()] as const);
    for (let round = 0; round < rounds; round++) {
      const refit =
        stored && rooms && systems
          ? [
              ...refitSteps({
                ...inOrder,
                ...{ hessian: hessian.matrix, unit: stored.unit, iterations: ITERATIONS, scratch: rooms, systems },
              }),
              ...stored.arrays.map(({ index, type, perUnit }) =>
                scaleStoredStep({ change: systems[0], stored: arrays[index]!, type, rows, units, perUnit }),
              ),
              gridStep({ format, from: arrays, to: scales, rows, k }),
              codeErrorsStep({ ...inOrder, chosen, scales, gridRows: rows, grid, levels }),
            ]
          : [];
      await run([...refit, ...choose('descent')]);
    }
    await run([scatterCodesStep({ chosen, place, codes, rows, k }), packStep({ format, codes, to: arrays, rows, k })]);
  } finally {
    scratch.release();
  }
}
