import { ArgumentError } from '../errors.ts';
import { checkCancelled } from '../files/cancel.ts';
import { sourceRow } from '../files/gguf/row-order.ts';
import { quote } from '../files/text.ts';
import type { Format, HostArrays } from '../formats/format.ts';
import { allocateArrays, arrayBytes, contentBytes } from '../formats/layout.ts';
import { activationScales } from '../formats/w8a8.ts';
import type { Gpu } from '../gpu/gpu.ts';
import type { Graph, WeightName } from '../graph/graph.ts';
import { uploadWeight, type Weight } from '../kernels/weight.ts';
import type { Calibration } from './calibration/calibration.ts';
import { type InputGroup, inputGroups } from './calibration/input-groups.ts';
import type { ColumnStatistics, Statistics, StatisticsSource } from './calibration/statistics.ts';
import { walkInputs } from './calibration/walk.ts';
import { type DenseSlice, denseSlices } from './dense-slices.ts';
import { checkpointSource } from './load-weights.ts';
import { compressRows, type Inputs } from './methods/compress-rows.ts';
import { type Correction, defaultCorrection, makeCorrection } from './methods/correction.ts';
import { type FactoredHessian, factorHessian } from './methods/factored-hessian.ts';
import { defaultRounds } from './methods/method.ts';
import { roundWhole } from './methods/round-whole.ts';
import type { PlannedTensor } from './plan.ts';
import type { Work } from './write-tensors.ts';

/** What quantizing a matrix cost, relative to leaving it out: tr(ΔW H ΔWᵀ) / tr(W H Wᵀ). */
export interface MatrixErrors {
  readonly rtn: number;
  readonly chosen: number;
}

/**
 * Compresses and writes the matrices of a plan that are calibrated, in the order of the graph: each is quantized when all windows have shown what its
 * inputs are like, and takes part in its compressed form from then on.
 * @returns what each matrix lost
 * @throws NonFiniteError, FileError, CancelledError, OutOfMemoryError, DeviceLostError
 */
export async function writeCalibrated(
  work: Omit<Work, 'plan' | 'written' | 'saturated' | 'strict'> & {
    readonly graph: Graph;
    /** Text to run, or what was seen before. */
    readonly inputs: Calibration | StatisticsSource;
    readonly tensors: readonly PlannedTensor[];
    /** Bytes of the input that are done, and in all. */
    readonly done: number;
    readonly total: number;
    readonly notice: (text: string) => void;
  },
): Promise<Map<string, MatrixErrors>> {
  const { gpu, checkpoint, graph, tensors, writer, signal, onProgress } = work;
  const planned = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  const errors = new Map<string, MatrixErrors>();
  let { done } = work;
  const visit = async (group: InputGroup, statistics: Statistics): Promise<Map<WeightName, Weight>> => {
    const targets = group.weights.flatMap((name) => planned.get(name) ?? []);
    const weights = new Map<WeightName, Weight>();
    const columns = await statistics.columns();
    const { inputs, release } = await inputsOf(work, group, targets, statistics, columns);
    const given = 'load' in work.inputs ? undefined : work.inputs.correction;
    try {
      for (const tensor of targets) {
        checkCancelled(signal, 'The compression');
        const { arrays, lost } = await compressMatrix(work, tensor, inputs, correctionOf(tensor, given));
        if (tensor.target!.activations === 'static') {
          arrays.activations = activationScales(Math.max(...columns.absMax), tensor.weight.shape[0]!);
        }
        errors.set(tensor.name, lost);
        await writer.write(tensor, inOutputOrder(tensor, arrays), tensor.weight.shape[0]!, true);
        done += tensor.report.bytesBefore;
        onProgress?.({ done, total: work.total, tensor: tensor.name });
        if ('load' in work.inputs || work.inputs.propagate === false) continue;
        const [rows, k] = tensor.weight.shape as [number, number];
        weights.set(tensor.name, uploadWeight(gpu, tensor.target!, rows, k, arrays, tensor.name));
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
    return errors;
  }
  const { windows, propagate = true, correction } = work.inputs;
  const originals = propagate && tensors.some((tensor) => correctionOf(tensor, correction) > 0);
  const source = checkpointSource(gpu, checkpoint, signal);
  await walkInputs({ gpu, graph, source, windows, originals, visit, wanted, ...(signal && { signal }) });
  return errors;
}

/** How much of what its inputs have lost a matrix makes up for. */
const correctionOf = ({ method, target }: PlannedTensor, given: number | undefined): number =>
  method === 'gptq' ? (given ?? defaultCorrection(target!.grid!.levels.length)) : 0;

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
): Promise<{ readonly inputs: Inputs; readonly release: () => void }> {
  const names = targets.map(({ name }) => quote(name)).join(', ');
  const bad = meanSquare.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) {
    throw new ArgumentError(
      `The inputs of ${names} are not finite in column ${bad}: the model computes no numbers on the calibration text.`,
    );
  }
  let factored: FactoredHessian | undefined;
  if (targets.some(({ method, refine }) => method === 'gptq' || (refine ?? 0) > 0)) {
    const found = hessian
      ? await factorHessian(gpu, hessian, meanSquare, signal)
      : `H of ${group.k} columns is larger than what this device binds at once (${gpu.bindingLimit} bytes)`;
    if (typeof found === 'string') notice(`${names}: codes are searched for, and not refined: ${found}.`);
    else factored = found;
  }
  // A column without any input counts a little: its weights are rounded, not lost.
  const least = 0.01 * (meanSquare.reduce((sum, value) => sum + value, 0) / meanSquare.length);
  const importance = meanSquare.map((value) => value + least);
  let correction: Correction | undefined;
  const release = () => {
    factored?.release();
    correction?.release();
  };
  try {
    if (factored && cross) correction = await makeCorrection(gpu, cross, factored, signal);
  } catch (error) {
    release();
    throw error;
  }
  const known = { ...(hessian && { hessian }), ...(factored && { factored }), ...(correction && { correction }) };
  return { inputs: { importance, ...known }, release };
}

/** A whole matrix, in the order of the checkpoint, some rows at a time. */
async function compressMatrix(
  {
    gpu,
    checkpoint,
    signal,
    notice,
  }: Pick<Work, 'gpu' | 'checkpoint' | 'signal'> & { readonly notice: (text: string) => void },
  { name, weight, target, method = 'rtn', refine }: PlannedTensor,
  inputs: Inputs,
  correct: number,
): Promise<{ readonly arrays: HostArrays; readonly lost: MatrixErrors }> {
  if (weight.kind !== 'dense') throw new Error(`${name} is not dense.`);
  const format = target!;
  const [rows, k] = weight.shape as [number, number];
  const whole = allocateArrays(format.arrays, rows, k);
  const sums = { rtn: 0, chosen: 0, all: 0 };
  let fellBack = 0;
  const rounded = format.single && (await roundWhole(gpu, checkpoint, weight.info, format, signal));
  for await (const slice of denseSlices(gpu, checkpoint, weight.info, format, signal)) {
    const result = await compressRows(
      gpu,
      slice,
      format,
      {
        ...{ method, rounds: refine ?? defaultRounds(method), correct },
        ...(rounded && { rounded: rowsOf(format, rounded, slice) }),
      },
      inputs,
      signal,
    );
    for (const array of format.arrays) {
      const part = result.arrays[array.name]!.subarray(0, contentBytes(array, slice.rows, k));
      whole[array.name]!.set(part, contentBytes(array, slice.rowStart, k));
    }
    sums.rtn += result.errors.rtn;
    sums.chosen += result.errors.chosen;
    sums.all += result.errors.all;
    if (result.fellBack) fellBack += slice.rows;
  }
  if (fellBack > 0) {
    const which = fellBack === rows ? 'its rows are' : `${fellBack} of its ${rows} rows are`;
    notice(`${quote(name)}: ${which} rounded to nearest, which loses less than ${method}.`);
  }
  const share = (error: number) => (sums.all > 0 ? error / sums.all : 0);
  return { arrays: whole, lost: { rtn: share(sums.rtn), chosen: share(sums.chosen) } };
}

/** Some rows of a weight, which start where it may be cut. */
function rowsOf(format: Format, arrays: HostArrays, { rowStart, rows, k }: DenseSlice): HostArrays {
  const parts = format.arrays.map((array) => {
    const start = contentBytes(array, rowStart, k);
    return [array.name, arrays[array.name]!.slice(start, start + contentBytes(array, rows, k))] as const;
  });
  return Object.fromEntries(parts);
}

/** The arrays without padding, rows in the order of the output. */
function inOutputOrder({ weight, target, gguf }: PlannedTensor, arrays: HostArrays): Uint8Array[] {
  const [rows, k] = weight.shape as [number, number];
  return (target as Format).arrays.map((array) => {
    const bytes = arrays[array.name]!.subarray(0, contentBytes(array, rows, k));
    const order = gguf?.order;
    if (!order) return bytes;
    const rowBytes = arrayBytes(array, rows, k) / rows;
    const out = new Uint8Array(bytes.length);
    for (let row = 0; row < rows; row++) {
      const at = sourceRow(order, row) * rowBytes;
      out.set(bytes.subarray(at, at + rowBytes), row * rowBytes);
    }
    return out;
  });
}
