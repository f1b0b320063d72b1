import type { Format } from '../../formats/format.ts';
import { formatByName } from '../../formats/registry.ts';
import type { Gpu } from '../../gpu/gpu.ts';
import type { BufferView } from '../../gpu/kernel.ts';
import { Scratch } from '../../gpu/scratch.ts';
import { columnStatisticsStep } from '../../kernels/column-statistics.ts';
import { quantizeStep } from '../../kernels/quantize.ts';
import { scaleColumnsStep } from '../../kernels/rows.ts';
import type { ColumnStatistics } from '../calibration/statistics.ts';
import { allocateRows } from '../device-arrays.ts';
import { type DenseRows, errorRoom, matrixErrorSteps, sumOfRows } from './matrix-error.ts';
import { startOf } from './method.ts';

/** α from 0 on, in twentieths. */
export const AWQ_STEPS = 20;
/** Factors stay within this of 1, either way. */
const WIDEST = 1e4;

/** A matrix that multiplies the input, and what it becomes. */
export interface AwqMatrix {
  readonly format: Format;
  /** Its rows in f32, some at a time; each is released before the next is asked for. */
  slices(): AsyncIterable<DenseRows>;
}

/** The factors that were chosen. */
export interface AwqScales {
  /** f32 [channels] */
  readonly factors: Float32Array;
  readonly alpha: number;
  /** Whether they also even out the columns' weights. */
  readonly weighed: boolean;
  /** Σ tr(ΔW H ΔWᵀ) over the matrices, with these factors and with none. */
  readonly error: number;
  readonly before: number;
}

/**
 * Factors of the channels of an input that let its matrices lose least: s = mean|x|^α or s = mean|x|^α / mean|w|^(1 − α), normalized by √(max · min), for
 * the α of twenty that leaves the least Σ tr(ΔW H ΔWᵀ), ΔW = Q(W diag(s)) diag(s)⁻¹ − W (Lin et al. 2024, AWQ, both of the authors' forms, with the output
 * error computed from H instead of by forward passes). What makes the input has to be divided by them (`foldScales`).
 * @param channelOf the factor that each column takes
 * @throws OutOfMemoryError, DeviceLostError, CancelledError
 */
export async function awqScales(
  gpu: Gpu,
  matrices: readonly AwqMatrix[],
  hessian: BufferView | undefined,
  { meanAbs, meanSquare }: ColumnStatistics,
  channelOf: Uint32Array,
  signal?: AbortSignal,
): Promise<AwqScales> {
  const channels = channelOf.reduce((most, channel) => Math.max(most, channel), 0) + 1;
  const sizes = channelMeans(meanAbs, channelOf, channels);
  const weightSizes = channelMeans(await columnSizes(gpu, matrices, channelOf.length, signal), channelOf, channels);
  const alphas = Array.from({ length: AWQ_STEPS }, (_, i) => i / AWQ_STEPS);
  const candidates = [
    ...alphas.map((alpha) => awqFactors(sizes, alpha)),
    ...alphas.map((alpha) => awqFactors(sizes, alpha, weightSizes)),
  ];
  const errors = new Float64Array(candidates.length);
  for (const { format, slices } of matrices) {
    for await (const rows of slices()) {
      const columns = candidates.map((factors) =>
        channelOf.length === channels ? factors : Float32Array.from(channelOf, (at) => factors[at]!),
      );
      const found = await scaledErrors(gpu, rows, format, hessian, meanSquare, columns, signal);
      for (const [i, error] of found.entries()) errors[i]! += error;
    }
  }
  let best = 0;
  for (const [i, error] of errors.entries()) if (error < errors[best]!) best = i;
  return {
    factors: candidates[best]!,
    alpha: alphas[best % AWQ_STEPS]!,
    weighed: best >= AWQ_STEPS,
    error: errors[best]!,
    before: errors[0]!,
  };
}

/** Mean |w| of each column over all rows of all matrices. */
async function columnSizes(
  gpu: Gpu,
  matrices: readonly AwqMatrix[],
  k: number,
  signal: AbortSignal | undefined,
): Promise<Float32Array> {
  const scratch = new Scratch(gpu);
  try {
    const statistics = scratch.upload(new Float32Array(4 * k), 'sizes of columns');
    let all = 0;
    for (const { slices } of matrices) {
      for await (const { view, rows } of slices()) {
        all += rows;
        const step = columnStatisticsStep({ x: view, statistics, tokens: rows, width: k, factor: 1 });
        await gpu.scheduler.run([step], signal && { signal });
      }
    }
    const [read] = await gpu.readBackAll([statistics]);
    const sums = new Float32Array(read!.buffer, 0, k);
    return sums.map((sum) => sum / all);
  } finally {
    scratch.release();
  }
}

/** The mean over the columns of each channel. */
function channelMeans(values: Float32Array, channelOf: Uint32Array, channels: number): Float32Array {
  const sums = new Float64Array(channels);
  const counts = new Float64Array(channels);
  for (const [i, channel] of channelOf.entries()) {
    sums[channel]! += values[i]!;
    counts[channel]!++;
  }
  return Float32Array.from(sums, (sum, i) => sum / counts[i]!);
}

/**
 * mean|x|^α, divided by mean|w|^(1 − α) where `weightSizes` are given, normalized; channels that are never active, or whose weights are zero, count as the
 * least of the others.
 */
export function awqFactors(sizes: Float32Array, alpha: number, weightSizes?: Float32Array): Float32Array {
  const inputs = aboveZero(sizes);
  const weights = weightSizes && aboveZero(weightSizes);
  const raw = Array.from(inputs, (size, i) => size ** alpha / (weights?.[i] ?? 1) ** (1 - alpha));
  const [low, high] = raw.reduce(([a, b], s) => [Math.min(a, s), Math.max(b, s)], [Number.POSITIVE_INFINITY, 0]);
  const middle = Math.sqrt(low) * Math.sqrt(high);
  return Float32Array.from(raw, (s) => Math.min(WIDEST, Math.max(1 / WIDEST, s / middle)));
}

/** Zeros replaced by the least of the others; ones where all are zero. */
function aboveZero(sizes: Float32Array): Float32Array {
  const least = sizes.reduce((a, size) => (size > 0 ? Math.min(a, size) : a), Number.POSITIVE_INFINITY);
  return least === Number.POSITIVE_INFINITY ? sizes.map(() => 1) : sizes.map((size) => Math.max(size, least));
}

/** The errors of some rows with each of the candidates' factors of columns, all in one read. */
async function scaledErrors(
  gpu: Gpu,
  { view, rows, k }: DenseRows,
  target: Format,
  hessian: BufferView | undefined,
  meanSquare: Float32Array,
  candidates: readonly Float32Array[],
  signal: AbortSignal | undefined,
): Promise<number[]> {
  const scratch = new Scratch(gpu);
  // Of scales that are quantized in their turn the exact ones: these may be some rows of the matrix only.
  const format = target.single ?? target;
  const result = allocateRows(gpu, format, rows, k, format.name);
  try {
    const scaled = { view: scratch.room(4 * rows * k, 'scaled weights'), rows, k };
    const room = errorRoom(scratch, scaled);
    const errors = candidates.map(() => scratch.room(4 * rows, 'errors of rows'));
    const start = startOf('search', format);
    const quantized = { format, arrays: result.arrays };
    const steps = candidates.flatMap((factors, i) => {
      // The scaled input is as much smaller.
      const importance = scratch.upload(
        meanSquare.map((square, at) => square / factors[at]! ** 2),
        'importance',
      );
      const inverse = factors.map((factor) => 1 / factor);
      return [
        scaleColumnsStep({
          ...{ x: view, factors: scratch.upload(factors, 'factors') },
          ...{ out: scaled.view, rows, width: k },
        }),
        quantizeStep({
          ...{ source: formatByName('f32'), from: scaled.view, format, to: result.arrays, rows, k, bad: result.bad },
          ...{ method: start.method, ...(start.weighted && { importance }) },
        }),
        ...matrixErrorSteps(
          gpu,
          { dense: scaled, quantized, hessian, columns: scratch.upload(inverse, 'inverse factors') },
          { ...room, out: errors[i]! },
        ),
      ];
    });
    await gpu.scheduler.run(steps, signal && { signal });
    const read = await gpu.readBackAll(errors);
    return read.map((bytes) => sumOfRows(new Float32Array(bytes.buffer)));
  } finally {
    result.release();
    scratch.release();
  }
}
