import { checkCancelled } from '../../files/cancel.ts';
import type { Checkpoint } from '../../files/checkpoint.ts';
import { decodeToF32 } from '../../files/convert.ts';
import { ELEMENT_BYTES } from '../../files/element-type.ts';
import { quote } from '../../files/text.ts';
import { allocateArrays } from '../../formats/layout.ts';
import { formatByName } from '../../formats/registry.ts';
import type { Gpu } from '../../gpu/gpu.ts';
import { Scratch } from '../../gpu/scratch.ts';
import type { Graph, WeightName } from '../../graph/graph.ts';
import { centerHessianStep } from '../../kernels/center-hessian.ts';
import { uploadWeight, type Weight } from '../../kernels/weight.ts';
import type { Calibration } from '../calibration/calibration.ts';
import { checkFiniteColumns } from '../calibration/finite-columns.ts';
import type { InputGroup } from '../calibration/input-groups.ts';
import type { Statistics } from '../calibration/statistics.ts';
import { walkInputs } from '../calibration/walk.ts';
import { checkpointSource } from '../load-weights.ts';
import { denseFormatOf } from '../stored-weight.ts';
import { type ChosenUnits, chooseUnits, type UnitInputs } from './choose-units.ts';
import type { Coupling } from './couplings.ts';
import { type NarrowCheckpoint, placesOf } from './narrow-checkpoint.ts';
import { leftInRounds, type Shrinking, type Structure, shrinkNeedsInputs } from './shrinking.ts';

/** A model that is about to lose layers. */
export interface WholeModel {
  readonly checkpoint: Checkpoint;
  readonly graph: Graph;
  /** How many layers stay. */
  readonly left: number;
}

/** A model that is about to get smaller. */
export interface Shrunk {
  readonly shrinking: Shrinking;
  /** With all its layers, where some go. */
  readonly whole?: WholeModel;
  /** Bytes of the layers that go. */
  readonly removedBytes: number;
  /** As it is, without the layers that go. */
  readonly original: Checkpoint;
  readonly graph: Graph;
  /** As it will be. */
  readonly narrow: NarrowCheckpoint;
  /** How many units of each layer stay. */
  readonly left: ReadonlyMap<Coupling, number>;
  /** Of how many units at a time there can be more or fewer, so that rows have whole blocks. */
  readonly steps: ReadonlyMap<Coupling, number>;
}

/** What a layer lost. */
export interface ShrunkLayer {
  readonly structure: Structure;
  /** Undefined where layers themselves are gone. */
  readonly layer?: number;
  /** Channels, groups of a key and value head with its query heads, or layers: how many there were, and which are gone. */
  readonly units: number;
  readonly removed: readonly number[];
  /** What each of them was worth by the score; with `obs`, what removing it alone would cost. Of a layer: 1 − the cosine of its input and output. */
  readonly importance: readonly number[];
  /** What the outputs of the matrix that reads them lost: tr(ΔW H ΔWᵀ) / tr(W H Wᵀ), without H in squares. Where it has a bias H is centered. */
  readonly error?: number;
}

/** What shrinking a model takes. */
export interface ShrinkWork {
  readonly gpu: Gpu;
  readonly calibration: Calibration | undefined;
  readonly notice: (text: string) => void;
  readonly signal?: AbortSignal | undefined;
  /** Called as each window has gone through a piece of the model, or, where nothing is calibrated, as each layer is done. */
  readonly onStep?: ((done: number, total: number) => void) | undefined;
}

/**
 * Chooses what goes from each layer, in the order of the graph, each seeing what the shrunken ones before it make, and fits the matrices behind it.
 * @throws NonFiniteError, FileError, ArgumentError, CancelledError, OutOfMemoryError, DeviceLostError
 */
export async function shrinkModel(
  { shrinking, original, graph, narrow, left }: Shrunk,
  { gpu, calibration, notice, signal, onStep }: ShrinkWork,
): Promise<ShrunkLayer[]> {
  const layers: ShrunkLayer[] = [];
  const rounds = shrinking.rounds;
  /** What earlier rounds left, and what units were worth in the first. */
  const before = new Map<Coupling, Pick<ChosenUnits, 'kept' | 'importance'>>();
  let round = 1;
  const shrink = async (coupling: Coupling, inputs: UnitInputs): Promise<ChosenUnits> => {
    checkCancelled(signal, 'Shrinking the model');
    const { structure, layer, units } = coupling;
    const count = leftInRounds(units, left.get(coupling)!, rounds)[round - 1]!;
    const source = { gpu, checkpoint: original, ...(signal && { signal }) };
    const last = before.get(coupling);
    const chosen = await chooseUnits(source, coupling, count, shrinking, inputs, last?.kept);
    const importance = last?.importance ?? chosen.importance;
    if (round < rounds) {
      before.set(coupling, { kept: chosen.kept, importance });
      return chosen;
    }
    const { kept, error, problem } = chosen;
    if (problem !== undefined) notice(`${quote(coupling.reader)}: ${problem}.`);
    narrow.keep(coupling, kept, chosen);
    const stays = new Set(kept);
    const removed = Array.from({ length: coupling.units }, (_, unit) => unit).filter((unit) => !stays.has(unit));
    layers.push({ structure, layer, units, removed, importance: Array.from(importance, shortened), error });
    return chosen;
  };
  const makesUp = [...left.keys()].some(({ bias }) => bias !== undefined);
  if (!calibration || !(makesUp || shrinkNeedsInputs(shrinking))) {
    for (const coupling of left.keys()) {
      await shrink(coupling, {});
      onStep?.(layers.length, left.size);
    }
    return layers;
  }
  const byInput = new Map([...left.keys()].map((coupling) => [coupling.input, coupling]));
  const visit = async ({ input }: InputGroup, statistics: Statistics): Promise<ReadonlyMap<WeightName, Weight>> => {
    const coupling = byInput.get(input)!;
    const chosen = await shrink(coupling, await unitInputs(gpu, coupling, statistics));
    if (calibration.propagate === false) return new Map();
    const weights = new Map([[coupling.reader, await wideReader(gpu, original, coupling, chosen, signal)]]);
    try {
      if (chosen.bias) weights.set(coupling.bias!, denseBias(gpu, original, coupling.bias!, chosen.bias));
      return weights;
    } catch (error) {
      for (const weight of weights.values()) weight.release();
      throw error;
    }
  };
  const source = checkpointSource(gpu, original, signal);
  const wanted = ({ input }: InputGroup) => byInput.has(input);
  const { windows } = calibration;
  for (; round <= rounds; round++) {
    const onWindow = (done: number, total: number) => onStep?.((round - 1) * total + done, rounds * total);
    await walkInputs({ gpu, graph, source, windows, visit, wanted, onWindow, ...(signal && { signal }) });
  }
  return layers;
}

/**
 * What statistics say of the inputs of the matrix that reads units. Where it has a bias, which makes up for the mean of what goes, they are centered: in place, so that H is the
 * covariance from then on.
 * @throws ArgumentError for what is no number; OutOfMemoryError, DeviceLostError
 */
export async function unitInputs(gpu: Gpu, { reader, bias }: Coupling, statistics: Statistics): Promise<UnitInputs> {
  const { meanSquare, mean } = await statistics.columns();
  checkFiniteColumns(meanSquare, `The inputs of ${quote(reader)}`);
  const { hessian } = statistics;
  if (bias === undefined || !mean) return { hessian, meanSquare };
  // Rounding may leave less than nothing.
  const variance = meanSquare.map((value, i) => Math.max(0, value - mean[i]! * mean[i]!));
  if (!hessian) return { hessian, meanSquare: variance, mean };
  const scratch = new Scratch(gpu);
  try {
    await gpu.scheduler.run([centerHessianStep({ hessian, mean: scratch.upload(mean, 'mean'), n: mean.length })]);
  } finally {
    scratch.release();
  }
  return { hessian, meanSquare: variance, mean };
}

/** Digits that a report needs. */
export const shortened = (value: number): number => Number(value.toPrecision(4));

/** A bias, changed, as models on the GPU have it. */
function denseBias(gpu: Gpu, original: Checkpoint, name: WeightName, bytes: Uint8Array): Weight {
  const values = decodeToF32(bytes, original.tensors.get(name)!.type);
  return uploadWeight(gpu, formatByName('f32'), 1, values.length, { data: new Uint8Array(values.buffer) }, name);
}

/** The matrix that reads what is left as one of its former size, zeros in place of what went: in the model as it was it computes what the shrunken one does. */
async function wideReader(
  gpu: Gpu,
  original: Checkpoint,
  { reader, units, columns }: Coupling,
  { kept, reader: fitted }: ChosenUnits,
  signal: AbortSignal | undefined,
): Promise<Weight> {
  const { type, shape } = original.tensors.get(reader)!;
  const [rows, k] = shape as [number, number];
  const format = denseFormatOf(type)!;
  const arrays = allocateArrays(format.arrays, rows, k);
  const size = ELEMENT_BYTES[type];
  const places = placesOf(kept, columns);
  const bytes = fitted ?? (await original.read(reader, 0, rows, signal));
  const data = arrays[format.arrays[0]!.name]!;
  const width = fitted ? places.length : units * columns;
  for (let row = 0; row < rows; row++) {
    for (const [i, place] of places.entries()) {
      const at = (row * width + (fitted ? i : place)) * size;
      data.set(bytes.subarray(at, at + size), (row * k + place) * size);
    }
  }
  return uploadWeight(gpu, format, rows, k, arrays, reader);
}
