import { ArgumentError } from '../../errors.ts';
import type { Gpu } from '../../gpu/gpu.ts';
import { Scratch } from '../../gpu/scratch.ts';
import { wrapDense } from '../../kernels/weight.ts';
import { addProduct, relativeError, sameRoom } from '../factorize/factor-arithmetic.ts';
import { leftFactor, rightFactor } from '../lora/split.ts';
import { readFloats } from './dense-rows.ts';
import { type SvdOptions, svd } from './svd.ts';

/** The weight of a convolution: f32 [outputs, inputs, height, width], row-major. */
export interface ConvKernel {
  readonly values: Float32Array<ArrayBuffer>;
  readonly shape: readonly [outputs: number, inputs: number, height: number, width: number];
}

/** The rank, and what `SvdOptions` has of cancellation and names. */
export interface KernelFactorOptions extends Pick<SvdOptions, 'signal' | 'name'> {
  /** Channels between the two convolutions. */
  readonly rank: number;
  /** Of the random numbers; default 0. */
  readonly seed?: number;
}

/** Two convolutions in the place of one, to be run in their order. */
export interface KernelFactors {
  readonly first: ConvKernel;
  readonly second: ConvKernel;
  /** ‖W − Ŵ‖ / ‖W‖ (Frobenius) of what they compute together. */
  readonly error: number;
}

/**
 * A convolution as one over columns [rank, inputs, height, 1] and one over rows [outputs, rank, 1, width] (Jaderberg, Vedaldi, Zisserman 2014): the truncated SVD of the kernel as a matrix of
 * (input, row) by (output, column), which is the nearest of that form. Strides and padding go to the convolution of their direction.
 * @throws ArgumentError for shapes and ranks that make no sense; NonFiniteError, CancelledError, OutOfMemoryError, DeviceLostError
 */
export async function spatialFactors(
  gpu: Gpu,
  kernel: ConvKernel,
  options: KernelFactorOptions,
): Promise<KernelFactors> {
  const [outputs, inputs, height, width] = checkKernel(kernel, options.name);
  // [inputs, height, outputs, width]
  const matrix = reordered(kernel.values, kernel.shape, [1, 2, 0, 3]);
  const { left, right, error } = await factored(gpu, matrix, inputs * height, outputs * width, options);
  const { rank } = options;
  return {
    first: { values: reordered(left, [inputs, height, rank, 1], [2, 0, 1, 3]), shape: [rank, inputs, height, 1] },
    second: { values: reordered(right, [rank, outputs, width, 1], [1, 0, 3, 2]), shape: [outputs, rank, 1, width] },
    error,
  };
}

/**
 * A convolution as one with fewer outputs [rank, inputs, height, width] and one of single pixels [outputs, rank, 1, 1] (Zhang, Zou, He, Sun 2016, without their data): the truncated SVD of the kernel as a matrix of outputs by
 * everything else, which is the nearest of that form. Strides and padding go to the first.
 * @throws as `spatialFactors`
 */
export async function channelFactors(
  gpu: Gpu,
  kernel: ConvKernel,
  options: KernelFactorOptions,
): Promise<KernelFactors> {
  const [outputs, inputs, height, width] = checkKernel(kernel, options.name);
  const found = await factored(gpu, kernel.values, outputs, inputs * height * width, options);
  return {
    first: { values: found.right, shape: [options.rank, inputs, height, width] },
    second: { values: found.left, shape: [outputs, options.rank, 1, 1] },
    error: found.error,
  };
}

/** Spectra of kernels are flat, and kernels small: a wider sketch and more power iterations than others need. */
export const accurate = (rank: number) => ({ rank, oversampling: Math.max(10, rank), powerIterations: 4 });

/** A matrix [rows, columns] as left [rows, rank] · right [rank, columns]. */
async function factored(
  gpu: Gpu,
  values: Float32Array,
  rows: number,
  columns: number,
  { rank, seed = 0, name = 'the kernel', signal }: KernelFactorOptions,
) {
  const scratch = new Scratch(gpu);
  const matrix = wrapDense(scratch.upload(values, name).buffer, rows, columns);
  const product = sameRoom(gpu, matrix, `${name}, product`);
  try {
    const found = await svd(gpu, matrix, { ...accurate(rank), seed, name, ...(signal && { signal }) });
    try {
      const left = leftFactor(await readFloats(gpu, found.u, rows * rank), found.singularValues);
      const right = rightFactor(await readFloats(gpu, found.v, columns * rank), found.singularValues);
      await addProduct(gpu, { left, right, rank }, product, false, signal);
      return { left, right, error: Math.sqrt(await relativeError(gpu, matrix, product, undefined)) };
    } finally {
      found.release();
    }
  } finally {
    product.release();
    scratch.release();
  }
}

/** @throws ArgumentError unless the values fill the shape */
export function checkKernel({ values, shape }: ConvKernel, name = 'the kernel'): ConvKernel['shape'] {
  const whole = shape.length === 4 && shape.every((size) => Number.isSafeInteger(size) && size >= 1);
  if (whole && shape.reduce((product, size) => product * size, 1) === values.length) return shape;
  throw new ArgumentError(
    `${name} has the shape [${shape}] and ${values.length} values: give [outputs, inputs, height, width], and as many values as they make.`,
  );
}

/** The same array with its dimensions in another order: dimension i of the result is dimension `order[i]` of `values`. */
export function reordered(
  values: Float32Array,
  shape: readonly [number, number, number, number],
  order: readonly [number, number, number, number],
): Float32Array<ArrayBuffer> {
  const strides = [shape[1] * shape[2] * shape[3], shape[2] * shape[3], shape[3], 1];
  const [a, b, c, d] = order.map((dimension) => shape[dimension]!) as [number, number, number, number];
  const [sa, sb, sc, sd] = order.map((dimension) => strides[dimension]!) as [number, number, number, number];
  const result = new Float32Array(values.length);
  let at = 0;
  for (let i = 0; i < a; i++) {
    for (let j = 0; j < b; j++) {
      for (let k = 0; k < c; k++) {
        const from = i * sa + j * sb + k * sc;
        for (let l = 0; l < d; l++) result[at++] = values[from + l * sd]!;
      }
    }
  }
  return result;
}
