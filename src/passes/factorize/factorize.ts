import { ArgumentError, CancelledError, ModelError } from '../../errors.ts';
import { checkCancelled } from '../../files/cancel.ts';
import type { ModelFiles } from '../../files/model-files.ts';
import type { ByteSink, OutputFolder } from '../../files/sink.ts';
import type { ByteSource } from '../../files/source.ts';
import { quote } from '../../files/text.ts';
import { formatByName } from '../../formats/registry.ts';
import type { Gpu } from '../../gpu/gpu.ts';
import { Scratch } from '../../gpu/scratch.ts';
import type { WeightName } from '../../graph/graph.ts';
import { gemmScratch, gemmSteps } from '../../kernels/gemm.ts';
import { allocateWeight, type Weight } from '../../kernels/weight.ts';
import type { Calibration } from '../calibration/calibration.ts';
import { inputGroups } from '../calibration/input-groups.ts';
import type { Statistics, StatisticsSource } from '../calibration/statistics.ts';
import { walkInputs } from '../calibration/walk.ts';
import { checkpointSource, loadWeight } from '../load-weights.ts';
import { type Whitening, whiten } from '../lowrank/whitening.ts';
import { prepare } from '../prepare.ts';
import { INDEX_FILE, shardIndex } from '../shards.ts';
import { copySideFiles, writeFile } from '../side-files.ts';
import { filesOutput, weightFilesOf } from '../weight-files.ts';
import { writeTensors } from '../write-tensors.ts';
import { type Factors, factorMatrix } from './factor-matrix.ts';
import { type FactoredMatrix, type FactorPlan, planFactors } from './plan-factors.ts';
import { checkRankTarget, pays, type RankTarget } from './rank.ts';

/** How a model is factorized. */
export interface FactorizeOptions extends RankTarget {
  readonly gpu: Gpu;
  /** Whitens each matrix by what the text shows of its inputs; later matrices see what factored earlier ones make, unless told otherwise. */
  readonly calibration?: Calibration;
  /** The same, gathered before. */
  readonly statistics?: StatisticsSource;
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
  /** Null where it stays as it is, since factors would have as many parameters. */
  readonly rank: number | null;
  /** ‖Δ‖² / ‖W‖², or with known inputs tr(Δ H Δᵀ) / tr(W H Wᵀ); 0 where it stays. */
  readonly error: number;
}

export interface FactorizeReport {
  readonly version: 1;
  readonly matrices: readonly FactorizedMatrix[];
  /** Of the linear matrices. */
  readonly parameters: { readonly before: number; readonly after: number };
  readonly bytesBefore: number;
  readonly bytesAfter: number;
  readonly notices: readonly string[];
  readonly seconds: number;
}

const WHAT = 'The factorization';

/**
 * Writes a model whose linear matrices are products of two of lower rank, in the types that they had: each the truncated SVD of the matrix or, with a calibration or statistics, the product that moves
 * its outputs least. A matrix whose factors would have no fewer parameters stays as it is. With `energy` the ranks are found in a first pass of the same work. One matrix and its
 * factors are in memory at a time. Where it fails, nothing is written. A `ByteSource` is closed.
 * @throws ArgumentError, ModelError, FileError, NonFiniteError, CancelledError, OutOfMemoryError, DeviceLostError
 */
export async function factorize(
  source: ModelFiles | ByteSource,
  output: OutputFolder | ByteSink,
  options: FactorizeOptions,
): Promise<FactorizeReport> {
  const { signal } = options;
  const started = performance.now();
  try {
    checkRankTarget(options);
    return { ...(await factorizeModel(source, output, options)), seconds: (performance.now() - started) / 1000 };
  } catch (error) {
    await output.abort();
    throw signal?.aborted || error instanceof CancelledError ? new CancelledError(WHAT, 'nothing was written') : error;
  }
}

async function factorizeModel(
  source: ModelFiles | ByteSource,
  output: OutputFolder | ByteSink,
  options: FactorizeOptions,
): Promise<Omit<FactorizeReport, 'seconds'>> {
  const { gpu, calibration, statistics, signal, shardBytes, energy } = options;
  const prepared = await prepare(
    source,
    {
      format: 'keep',
      ...(calibration && { calibration }),
      ...(statistics && { statistics }),
      ...(shardBytes !== undefined && { shardBytes }),
      ...(signal && { signal }),
    },
    output,
  );
  const { checkpoint, strict } = prepared;
  try {
    if (prepared.gguf)
      throw new ArgumentError('GGUF has no tensors for factors: write a folder or a .safetensors file.');
    if (statistics?.squaresOnly) {
      throw new ArgumentError(
        `${statistics.name} is an importance matrix: whitening needs all of H. Give a calibration text.`,
      );
    }
    const notices = new Set<string>(prepared.plan.summary.notices.filter((text) => text !== NOTHING));
    let ranks: ReadonlyMap<WeightName, number> | undefined;
    if (energy !== undefined) {
      const found = new Map<WeightName, number>();
      const first = planFactors(prepared, options, undefined);
      await eachFactored(prepared, first, options, notices, async ({ tensor }, { rank }) => {
        found.set(tensor.name, rank);
      });
      ranks = found;
    }
    const plan = planFactors(prepared, options, ranks);
    if (plan.matrices.length === 0) {
      throw new ModelError(
        `${checkpoint.name}: no matrix is factored: at these ranks factors would have no fewer parameters. Give a lower rank, or a smaller share.`,
      );
    }
    const folder = 'file' in output ? output : undefined;
    const files = weightFilesOf(plan);
    const writer = filesOutput(files, async (file) => ('file' in output ? output.file(file) : output));
    await writeTensors({
      ...{ checkpoint, plan: plan.plan, writer, written: [], saturated: new Map(), gpu, strict },
      ...(signal && { signal }),
    });
    const errors = new Map<WeightName, number>();
    await eachFactored(prepared, plan, options, notices, async ({ tensor, left, right, encode }, factors) => {
      errors.set(tensor.name, factors.error);
      await writer.write(right, [encode(factors.right, right.name)], factors.rank, true);
      await writer.write(left, [encode(factors.left, left.name)], tensor.weight.shape[0]!, true);
    });
    if (folder) {
      if (plan.shards.length > 1) await writeFile(folder, INDEX_FILE, shardIndex(plan.shards));
      await copySideFiles(checkpoint, folder);
    }
    checkCancelled(signal, WHAT);
    await writer.finish();
    await folder?.commit();
    const { bytesBefore, bytesAfter } = plan.plan.summary;
    return {
      ...{ version: 1, parameters: plan.parameters, bytesBefore, bytesAfter, notices: [...notices] },
      matrices: plan.report.map((matrix) => ({ ...matrix, error: errors.get(matrix.name) ?? 0 })),
    };
  } finally {
    await checkpoint.close();
  }
}

/** Of a plan that keeps everything. */
const NOTHING = 'No matrix was compressed.';

/** Factors the matrices of a plan, in its order. */
async function eachFactored(
  { checkpoint, graph }: Pick<FactorPlan, 'checkpoint' | 'graph'>,
  plan: FactorPlan,
  options: FactorizeOptions,
  notices: Set<string>,
  use: (matrix: FactoredMatrix, factors: Factors) => Promise<void>,
): Promise<void> {
  const { gpu, calibration, statistics, signal, onProgress, seed, energy } = options;
  const planned = new Map(plan.matrices.map((matrix) => [matrix.tensor.name, matrix]));
  let done = 0;
  const factor = async (matrix: FactoredMatrix, whitening?: Whitening): Promise<Factors> => {
    checkCancelled(signal, WHAT);
    onProgress?.(done++, plan.matrices.length, matrix.tensor.name);
    const role = { name: matrix.tensor.name, role: 'linear' as const };
    const weight = await loadWeight(gpu, checkpoint, role, { dense: 'f32' }, signal);
    try {
      const factors = await factorMatrix(gpu, weight, {
        target: matrix.rank === undefined ? { energy: energy! } : { rank: matrix.rank },
        name: `${checkpoint.name}: tensor ${quote(matrix.tensor.name)}`,
        ...{ whitening, ...(seed !== undefined && { seed }), ...(signal && { signal }) },
      });
      await use(matrix, factors);
      return factors;
    } finally {
      weight.release();
    }
  };
  if (!calibration && !statistics) {
    for (const matrix of plan.matrices) await factor(matrix);
    onProgress?.(plan.matrices.length, plan.matrices.length, '');
    return;
  }
  const groups = inputGroups(graph!).filter(({ weights }) => weights.some((name) => planned.has(name)));
  const visit = async (names: readonly WeightName[], known: Statistics): Promise<Map<WeightName, Weight>> => {
    const whitening = await whiteningOf(gpu, names, known, notices, signal);
    const replaced = new Map<WeightName, Weight>();
    try {
      for (const name of names) {
        const matrix = planned.get(name);
        if (!matrix) continue;
        const factors = await factor(matrix, whitening);
        const [rows, columns] = matrix.tensor.weight.shape as readonly [number, number];
        // Of a matrix that will stay, since its factors do not pay, nothing is lost.
        const takesPart = calibration && calibration.propagate !== false && pays(factors.rank, rows, columns);
        if (takesPart) replaced.set(name, await productOf(gpu, factors, rows, columns, signal));
      }
      return replaced;
    } catch (error) {
      for (const weight of replaced.values()) weight.release();
      throw error;
    } finally {
      whitening?.release();
    }
  };
  if (statistics) {
    for (const group of groups) {
      const known = await statistics.load(gpu, group, signal);
      try {
        await visit(group.weights, known);
      } finally {
        known.release();
      }
    }
  } else {
    await walkInputs({
      ...{ gpu, graph: graph!, source: checkpointSource(gpu, checkpoint, signal), windows: calibration!.windows },
      wanted: ({ weights }) => weights.some((name) => planned.has(name)),
      visit: (group, known) => visit(group.weights, known),
      ...(signal && { signal }),
    });
  }
  onProgress?.(plan.matrices.length, plan.matrices.length, '');
}

async function whiteningOf(
  gpu: Gpu,
  names: readonly WeightName[],
  statistics: Statistics,
  notices: Set<string>,
  signal?: AbortSignal,
): Promise<Whitening | undefined> {
  const { meanSquare } = await statistics.columns();
  const { hessian } = statistics;
  const found = hessian
    ? await whiten(gpu, hessian, meanSquare, signal)
    : `H of ${meanSquare.length} columns is larger than what this device binds at once (${gpu.bindingLimit} bytes)`;
  if (typeof found !== 'string') return found;
  notices.add(`${names.map(quote).join(', ')}: factored without whitening: ${found}.`);
  return undefined;
}

/** left · right as the matrix that it stands for, on the GPU. */
async function productOf(
  gpu: Gpu,
  { left, right, rank }: Factors,
  rows: number,
  columns: number,
  signal?: AbortSignal,
): Promise<Weight> {
  const weight = allocateWeight(gpu, formatByName('f32'), rows, columns, 'product of factors');
  const scratch = new Scratch(gpu);
  try {
    const [a, b] = [scratch.upload(left, 'left factor'), scratch.upload(right, 'right factor')];
    const steps = weight.parts.flatMap((part) =>
      gemmSteps({
        ...{ a: { ...a, width: rank, start: part.rowStart * rank }, b: { ...b, width: columns } },
        ...{ c: { ...part.arrays[0]!, width: columns }, rows: part.rows, columns, inner: rank },
        scratch: scratch.room(Math.max(4, gemmScratch(part.rows, columns, rank)), 'parts'),
      }),
    );
    await gpu.scheduler.run(steps, { label: WHAT, ...(signal && { signal }) });
    return weight;
  } catch (error) {
    weight.release();
    throw error;
  } finally {
    scratch.release();
  }
}
