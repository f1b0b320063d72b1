import { ArgumentError, ModelError } from '../../errors.ts';
import type { ModelFiles } from '../../files/model-files.ts';
import type { ByteSink, OutputFolder } from '../../files/sink.ts';
import type { ByteSource } from '../../files/source.ts';
import type { Gpu } from '../../gpu/gpu.ts';
import type { Calibration } from '../calibration/calibration.ts';
import type { StatisticsSource } from '../calibration/statistics.ts';
import { compress } from '../compress.ts';
import { kindOf } from '../compress-options.ts';
import type { WhitenBy } from '../lowrank/whiten-by.ts';
import type { Method } from '../methods/method.ts';
import type { CompressionPlan, TensorReport } from '../plan.ts';
import type { Recipe } from '../recipe.ts';
import { checkRankTarget, type RankTarget } from './rank.ts';

/** How a model is factorized. */
export interface FactorizeOptions extends RankTarget {
  readonly gpu: Gpu;
  /** Whitens each matrix by what the text shows of its inputs; later matrices see what factored earlier ones make, unless told otherwise. */
  readonly calibration?: Calibration;
  /** The same, gathered before. */
  readonly statistics?: StatisticsSource;
  /** Keep each matrix in `format`, and what that has lost as factors, whose rank is then 32 unless told otherwise. */
  readonly residual?: boolean;
  /** Of the matrices with a residual, or of the factors in place of the type that the matrix had. */
  readonly format?: string;
  /** How codes of `format` are chosen. */
  readonly method?: Method;
  /** The format of the factors of a residual; default: f16. */
  readonly factors?: string;
  /** What weighs errors where inputs are known: all of H, or the sizes of columns. Default: all that is known. */
  readonly whiten?: WhitenBy;
  /** Of the random numbers; default 0. */
  readonly seed?: number;
  /** Globs of names: other matrices are left alone. Default: all linear ones. */
  readonly match?: string | string[];
  /** In a folder: most bytes of tensors in a file of weights. Default: 5 GB. */
  readonly shardBytes?: number;
  readonly signal?: AbortSignal;
  /** Called as matrices are done. */
  readonly onProgress?: (done: number, total: number, tensor: string) => void;
}

/** What became of a matrix. */
export interface FactorizedMatrix {
  readonly name: string;
  readonly shape: readonly [number, number];
  /** Null where it stays whole, since factors would take as much room. */
  readonly rank: number | null;
  /** ‖Δ‖² / ‖W‖², or with known inputs tr(Δ H Δᵀ) / tr(W H Wᵀ); 0 where it stays as it is. */
  readonly error: number;
}

/** What a factorization came to: sizes in bytes, parameters of linear matrices, time in seconds. */
export interface FactorizeReport {
  readonly version: 1;
  readonly matrices: readonly FactorizedMatrix[];
  /** Of the linear matrices. */
  readonly parameters: { readonly before: number; readonly after: number };
  readonly bytesBefore: number;
  readonly bytesAfter: number;
  readonly bitsPerWeight: CompressionPlan['bitsPerWeight'];
  readonly notices: readonly string[];
  readonly seconds: number;
}

/**
 * Writes a model whose linear matrices are products of two of lower rank: each the truncated SVD of the matrix or, with a calibration or statistics, the product that moves its outputs least; or are quantized and
 * have such a product of what that has lost beside them. A matrix whose factors would take as much room stays whole. It is `compress` with a recipe of one rule that factors. Where it fails, nothing is written. A
 * `ByteSource` is closed.
 * @throws ArgumentError, ModelError, FileError, RecipeError, FormatError, NonFiniteError, CancelledError, OutOfMemoryError, DeviceLostError
 */
export async function factorize(
  source: ModelFiles | ByteSource,
  output: OutputFolder | ByteSink,
  options: FactorizeOptions,
): Promise<FactorizeReport> {
  const { gpu, calibration, statistics, shardBytes, signal, onProgress } = options;
  let recipe: Recipe;
  try {
    recipe = recipeOf(options);
    if (kindOf(output, undefined) === 'gguf') {
      throw new ArgumentError('GGUF has no tensors for factors: write a folder or a .safetensors file.');
    }
  } catch (error) {
    if ('read' in source) await source.close();
    await output.abort();
    throw error;
  }
  let places: ReadonlySet<string> = new Set();
  let done = 0;
  const report = await compress(source, output, {
    ...{ gpu, recipe },
    ...(calibration && { calibration }),
    ...(statistics && { statistics }),
    ...(shardBytes !== undefined && { shardBytes }),
    ...(signal && { signal }),
    onPlan: ({ tensors }) => {
      const made = tensors.filter(({ factors }) => factors?.rank);
      if (made.length === 0) {
        throw new ModelError(
          'Nothing was written, since no matrix is factored: at these ranks factors would take as much room. Give a lower rank, or a smaller share.',
        );
      }
      places = new Set(made.map(({ name }) => name));
    },
    onProgress: ({ tensor }) => {
      // Before that, ranks are found.
      if (places.size === 0) onProgress?.(0, 1, tensor);
      if (places.has(tensor)) onProgress?.(++done, places.size, tensor);
    },
  });
  const linear = report.tensors.filter(({ role }) => role === 'linear');
  const sum = (of: (tensor: TensorReport) => number) => linear.reduce((total, tensor) => total + of(tensor), 0);
  const { bytesBefore, bytesAfter, bitsPerWeight, notices, seconds } = report;
  return {
    ...{ version: 1, bytesBefore, bytesAfter, bitsPerWeight, notices, seconds },
    matrices: linear.flatMap(({ name, shape, factors }) =>
      factors ? [{ name, shape: shape as [number, number], rank: factors.rank, error: factors.error ?? 0 }] : [],
    ),
    parameters: { before: sum(sizeOf), after: sum(parametersOf) },
  };
}

const sizeOf = ({ shape }: TensorReport): number => shape.reduce((product, size) => product * size, 1);

function parametersOf(tensor: TensorReport): number {
  const { factors, shape } = tensor;
  if (!factors?.rank) return sizeOf(tensor);
  return (factors.residual ? sizeOf(tensor) : 0) + factors.rank * (shape[0]! + shape[1]!);
}

/** The rule that says the same. @throws ArgumentError */
export function recipeOf(options: Omit<FactorizeOptions, 'gpu'>): Recipe {
  const {
    rank,
    keep,
    energy,
    across,
    budget,
    whiten,
    residual = false,
    format = 'keep',
    method,
    factors,
    seed,
    match = '*',
  } = options;
  const target = {
    ...(rank !== undefined && { rank }),
    ...(keep !== undefined && { keep }),
    ...(energy !== undefined && { energy }),
    ...(across !== undefined && { across }),
    ...(budget !== undefined && { budget }),
  };
  if (!residual || Object.keys(target).length > 0) checkRankTarget(target);
  if (residual && format === 'keep') {
    throw new ArgumentError('A residual is what a format has lost: name one, int3-g64 say.');
  }
  if (!residual && factors !== undefined) {
    throw new ArgumentError('The format of factors by themselves is "format"; "factors" is of a residual.');
  }
  const factorize = {
    ...{ ...target, ...(residual && { residual }), ...(whiten !== undefined && { whiten }) },
    ...{ ...(factors !== undefined && { factors }), ...(seed !== undefined && { seed }) },
  };
  return {
    version: 1,
    rules: [{ match, role: 'linear', format, ...(method && { method }), factorize }],
  };
}
