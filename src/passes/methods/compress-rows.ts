import type { Format, HostArrays, QuantizeMethod } from '../../formats/format.ts';
import { formatByName } from '../../formats/registry.ts';
import type { Gpu } from '../../gpu/gpu.ts';
import type { BufferView } from '../../gpu/kernel.ts';
import { Scratch } from '../../gpu/scratch.ts';
import { quantizeStep } from '../../kernels/quantize.ts';
import { padToWord } from '../../kernels/weight.ts';
import { allocateRows, type DeviceRows } from '../device-arrays.ts';
import type { Correction } from './correction.ts';
import type { FactoredHessian } from './factored-hessian.ts';
import { gptq, refitScales } from './gptq.ts';
import { type DenseRows, matrixError } from './matrix-error.ts';
import { type Method, startOf } from './method.ts';

/** What is known of the inputs of a matrix. */
export interface Inputs {
  /** f32 [k, k] */
  readonly hessian?: BufferView;
  /** For methods that need it. */
  readonly factored?: FactoredHessian;
  /** Where the original inputs are known as well. */
  readonly correction?: Correction;
  /** f32 [k]: how much each column counts. */
  readonly importance: Float32Array;
}

/** Squared errors of some rows, as their inputs weigh them. */
export interface RowErrors {
  /** Of rounding to nearest. */
  readonly rtn: number;
  readonly chosen: number;
  /** Of leaving the rows out. */
  readonly all: number;
}

export interface CompressedRows {
  readonly arrays: HostArrays;
  readonly errors: RowErrors;
  /** Rounding to nearest lost less, and was taken. */
  readonly fellBack: boolean;
}

/**
 * Quantizes some finite rows by a method that knows their inputs, and measures what that costs beside rounding to nearest, which is taken where it costs less.
 * Where the format takes whole matrices (`single`), `rounded` is what rounding to nearest makes of these rows; they keep its scales.
 * @throws FormatError, OutOfMemoryError, DeviceLostError, CancelledError
 */
export async function compressRows(
  gpu: Gpu,
  dense: DenseRows,
  format: Format,
  {
    method,
    rounds,
    correct = 0,
    rounded: given,
  }: {
    readonly method: Method;
    readonly rounds: number;
    /** The share of what their inputs have lost that the rows make up for: they are changed. Default 0. */
    readonly correct?: number;
    readonly rounded?: HostArrays;
  },
  { hessian, factored, correction, importance }: Inputs,
  signal?: AbortSignal,
): Promise<CompressedRows> {
  const { view, rows, k } = dense;
  const made: DeviceRows[] = [];
  const scratch = new Scratch(gpu);
  try {
    if (correction && correct > 0) await correction.apply(dense, correct, signal);
    // Without H the squared error of each column, as its importance weighs it.
    const columns = hessian ? undefined : scratch.upload(importance.map(Math.sqrt), 'importance');
    const weights = importance.some((value) => value > 0) ? scratch.upload(importance, 'importance') : undefined;
    const quantized = async (how: QuantizeMethod, weighted: boolean): Promise<DeviceRows> => {
      const result = allocateRows(gpu, format, rows, k, format.name);
      made.push(result);
      if (given) {
        for (const [i, { name }] of format.arrays.entries()) {
          const { buffer, offset } = result.arrays[i]!;
          gpu.upload(buffer, padToWord(given[name]!), offset);
        }
        return result;
      }
      const step = quantizeStep({
        ...{
          source: formatByName('f32'),
          from: view,
          format,
          to: result.arrays,
          rows,
          k,
          bad: result.bad,
          method: how,
        },
        ...(weighted && weights && { importance: weights }),
      });
      await gpu.scheduler.run([step], signal && { signal });
      return result;
    };
    const errorOf = (made?: DeviceRows) =>
      matrixError(gpu, { dense, hessian, columns, ...(made && { quantized: { format, arrays: made.arrays } }) });
    const rounded = await quantized('rtn', false);
    const first = { rtn: await errorOf(rounded), all: await errorOf() };
    let result = rounded;
    let chosen = first.rtn;
    if (method !== 'rtn') {
      const start = startOf(method, format);
      const other = await quantized(start.method, start.weighted);
      if (factored && method === 'gptq') {
        await gptq(gpu, dense, format, other.arrays, factored, { rounds, ...(signal && { signal }) });
      } else if (factored && rounds > 0) await refitScales(gpu, dense, format, other.arrays, factored, signal);
      const error = await errorOf(other);
      if (error <= chosen) [result, chosen] = [other, error];
    }
    const { arrays } = await result.read();
    return { arrays, errors: { ...first, chosen }, fellBack: method !== 'rtn' && result === rounded };
  } finally {
    for (const rowsOnDevice of made) rowsOnDevice.release();
    scratch.release();
  }
}
