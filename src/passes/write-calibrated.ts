import { checkCancelled } from '../files/cancel.ts';
import type { Checkpoint } from '../files/checkpoint.ts';
import { quote } from '../files/text.ts';
import type { HostArrays } from '../formats/format.ts';
import { formatByName } from '../formats/registry.ts';
import { activationScales } from '../formats/w8a8.ts';
import type { Gpu } from '../gpu/gpu.ts';
import { Scratch } from '../gpu/scratch.ts';
import type { Graph, WeightName } from '../graph/graph.ts';
import type { VariantChoice } from '../graph/variant-choice.ts';
import { loadPackedProducts } from '../kernels/packed-products.ts';
import { uploadWeight, type Weight } from '../kernels/weight.ts';
import type { Calibration } from './calibration/calibration.ts';
import { checkFiniteColumns } from './calibration/finite-columns.ts';
import { type InputGroup, inputGroups } from './calibration/input-groups.ts';
import type { ColumnStatistics, Statistics, StatisticsSource } from './calibration/statistics.ts';
import { walkInputs } from './calibration/walk.ts';
import { compressMatrix, inOutputOrder, type MatrixLosses, outputFormat } from './compress-matrix.ts';
import { checkpointSource } from './load-weights.ts';
import { type Whitening, whiteningOf } from './lowrank/whitening.ts';
import type { Inputs } from './methods/compress-rows.ts';
import { type Correction, correctionOf, makeCorrection } from './methods/correction.ts';
import { type FactoredHessian, factorHessian } from './methods/factored-hessian.ts';
import type { PlannedTensor } from './plan.ts';
import { type CompensatedBias, compensatedBias, meanLoss } from './pruning/compensate-bias.ts';
import type { Threshold } from './pruning/find-mask.ts';
import type { PruneInputs } from './pruning/prune-rows.ts';
import { needsHessian, type Pruning } from './pruning/pruning.ts';
import type { PruningRounds } from './pruning/rounds.ts';
import { pruneInputs, scoreFactors } from './pruning/score-factors.ts';
import { recorded } from './timeline.ts';
import type { Work } from './write-tensors.ts';

/**
 * Compresses and writes the matrices of a plan that are calibrated, in the order of the graph: each is pruned and quantized when all windows have shown what
 * its inputs are like, and takes part in its compressed form from then on.
 * @returns what each matrix lost
 * @throws NonFiniteError, FileError, CancelledError, OutOfMemoryError, DeviceLostError
 */
export async function writeCalibrated(
  work: Omit<Work, 'plan' | 'written' | 'saturated' | 'strict'> & {
    readonly graph: Graph;
    /** Text to run, or what was seen before. */
    readonly inputs: Calibration | StatisticsSource;
    readonly tensors: readonly PlannedTensor[];
    /** Of patterns that compare all matrices of a rule. */
    readonly thresholds: ReadonlyMap<Pruning, Threshold>;
    /** In place of what the plan says, by name. */
    readonly prunings: ReadonlyMap<string, Pruning>;
    /** Where matrices are pruned in several: this is one of them. */
    readonly rounds?: PruningRounds;
    /** Bytes of the input that are done, and in all. */
    readonly done: number;
    readonly total: number;
    readonly notice: (text: string) => void;
    readonly tuner?: VariantChoice | undefined;
  },
): Promise<Map<string, MatrixLosses>> {
  const { gpu, checkpoint, graph, tensors, writer, signal, onProgress, record } = work;
  const planned = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  const biases = new Map(tensors.flatMap((tensor) => (tensor.compensates ? [[tensor.compensates, tensor]] : [])));
  const losses = new Map<string, MatrixLosses>();
  let { done } = work;
  const visit = async (group: InputGroup, statistics: Statistics): Promise<Map<WeightName, Weight>> => {
    const targets = group.weights.flatMap((name) => planned.get(name) ?? []);
    const weights = new Map<WeightName, Weight>();
    const columns = await statistics.columns();
    const { quantize, pruneFor, whitening, release } = await inputsOf(work, group, targets, statistics, columns);
    const keeps = 'load' in work.inputs || work.inputs.propagate === false;
    const wrote = (tensor: PlannedTensor, lost: MatrixLosses) => {
      losses.set(tensor.name, lost);
      done += tensor.report.bytesBefore;
      onProgress?.({ done, total: work.total, tensor: tensor.name });
    };
    const given = 'load' in work.inputs ? undefined : work.inputs.correction;
    try {
      for (const tensor of targets) {
        checkCancelled(signal, 'The compression');
        const own = work.prunings.get(tensor.name);
        const [rows, k] = tensor.weight.shape as [number, number];
        if (tensor.factors) {
          const { factorTensor } = await import('./factorize/factor-tensor.ts');
          const threshold = tensor.prune && work.thresholds.get(tensor.prune);
          const known = { quantize, prune: pruneFor(tensor), whitening };
          const { arrays, lost, product } = await recorded(record, 'compute', tensor.name, () =>
            factorTensor(work, own ? { ...tensor, prune: own } : tensor, known, threshold),
          );
          if (keeps) product.release();
          else weights.set(tensor.name, product);
          await recorded(record, 'write', tensor.name, () => writer.write(tensor, arrays, rows, true));
          wrote(tensor, lost);
          continue;
        }
        const { arrays, lost } = await recorded(record, 'compute', tensor.name, () =>
          compressMatrix(
            work,
            own ? { ...tensor, prune: own } : tensor,
            { quantize, prune: pruneFor(tensor) },
            {
              correct: correctionOf(tensor, given),
              threshold: tensor.prune && work.thresholds.get(tensor.prune),
            },
          ),
        );
        if (tensor.target?.activations === 'static') {
          arrays.activations = activationScales(Math.max(...columns.absMax), tensor.weight.shape[0]!);
        }
        const ordered = inOutputOrder(tensor, arrays);
        await recorded(record, 'write', tensor.name, () => writer.write(tensor, ordered, rows, true));
        wrote(tensor, lost);
        const bias = biases.get(tensor.name);
        const made = bias && (await compensated(work, tensor, arrays, bias, columns.mean));
        if (bias && made) {
          const n = made.values.length;
          await writer.write(bias, [made.bytes], n, true);
          done += bias.report.bytesBefore;
          if (!keeps)
            weights.set(
              bias.name,
              uploadWeight(gpu, F32, 1, n, { data: new Uint8Array(made.values.buffer) }, bias.name),
            );
        }
        if (keeps) continue;
        const format = outputFormat(tensor);
        await loadPackedProducts([format]);
        weights.set(tensor.name, uploadWeight(gpu, format, rows, k, arrays, tensor.name));
      }
      return weights;
    } catch (error) {
      for (const weight of weights.values()) weight.release();
      throw error;
    } finally {
      release();
    }
  };
  const wanted = (group: InputGroup) => group.weights.some((name) => planned.has(name));
  if ('load' in work.inputs) {
    for (const group of inputGroups(graph).filter(wanted)) {
      const statistics = await work.inputs.load(gpu, group, signal);
      try {
        await visit(group, statistics);
      } finally {
        statistics.release();
      }
    }
    return losses;
  }
  const { windows, propagate = true, correction } = work.inputs;
  const originals = propagate && tensors.some((tensor) => correctionOf(tensor, correction) > 0);
  const source = checkpointSource(gpu, checkpoint, signal);
  const { tuner } = work;
  await walkInputs({ gpu, graph, source, windows, originals, visit, wanted, tuner, ...(signal && { signal }) });
  return losses;
}

const F32 = formatByName('f32');

/** The bias behind a matrix that was pruned, which makes up for what that lost on the mean input, where that is known. */
async function compensated(
  { checkpoint, signal }: { readonly checkpoint: Checkpoint; readonly signal?: AbortSignal },
  tensor: PlannedTensor,
  arrays: HostArrays,
  bias: PlannedTensor,
  mean: Float32Array | undefined,
): Promise<CompensatedBias> {
  const lost = mean && (await meanLoss(checkpoint, tensor, arrays, mean, signal));
  return compensatedBias(checkpoint, bias, lost, signal);
}

/** What the methods of a group need of its statistics. */
async function inputsOf(
  {
    gpu,
    signal,
    notice,
  }: { readonly gpu: Gpu; readonly signal?: AbortSignal; readonly notice: (text: string) => void },
  group: InputGroup,
  targets: readonly PlannedTensor[],
  { hessian, cross }: Statistics,
  { meanSquare }: ColumnStatistics,
): Promise<{
  readonly quantize: Inputs;
  readonly pruneFor: (tensor: PlannedTensor) => PruneInputs;
  /** Where matrices become factors. */
  readonly whitening: Whitening | undefined;
  readonly release: () => void;
}> {
  const names = targets.map(({ name }) => quote(name)).join(', ');
  checkFiniteColumns(meanSquare, `The inputs of ${names}`);
  let factored: FactoredHessian | undefined;
  let whitening: Whitening | undefined;
  const refined = targets.some(({ method, refine }) => method === 'gptq' || (refine ?? 0) > 0);
  const repaired = targets.some(({ prune }) => prune && needsHessian(prune));
  if (refined || repaired) {
    const found = hessian
      ? await factorHessian(gpu, hessian, meanSquare, signal)
      : `H of ${group.k} columns is larger than what this device binds at once (${gpu.bindingLimit} bytes)`;
    if (typeof found === 'string') {
      const instead = [
        ...(refined ? ['codes are searched for, and not refined'] : []),
        ...(repaired ? ['weights are ranked as wanda does, and not repaired'] : []),
      ];
      notice(`${names}: ${instead.join('; ')}: ${found}.`);
    } else factored = found;
  }
  // A column without any input counts a little: its weights are rounded, not lost.
  const least = 0.01 * (meanSquare.reduce((sum, value) => sum + value, 0) / meanSquare.length);
  const importance = meanSquare.map((value) => value + least);
  let correction: Correction | undefined;
  const scratch = new Scratch(gpu);
  const release = () => {
    scratch.release();
    factored?.release();
    whitening?.release();
    correction?.release();
  };
  try {
    if (targets.some(({ factors }) => factors)) {
      // One rule for all matrices of an input, which is the usual case, asks for one.
      const by = targets.find(({ factors }) => factors)!.factors!.factoring.whiten;
      const told = (text: string) => notice(`${names}: ${text}.`);
      whitening = await whiteningOf(gpu, { by, hessian, diagonal: meanSquare }, told, signal);
    }
    if (factored && cross) correction = await makeCorrection(gpu, cross, factored, signal);
    const known = { ...(hessian && { hessian }), ...(factored && { factored }), ...(correction && { correction }) };
    const prunings = targets.flatMap(({ prune }) => prune ?? []);
    const factors = await scoreFactors(gpu, scratch, prunings, meanSquare, factored, signal);
    return {
      quantize: { importance, ...known },
      whitening,
      pruneFor: ({ prune }) => (prune ? pruneInputs(prune, factors, known) : {}),
      release,
    };
  } catch (error) {
    release();
    throw error;
  }
}
