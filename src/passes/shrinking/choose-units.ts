import type { Checkpoint } from '../../files/checkpoint.ts';
import { decodeToF32, encodeBf16, encodeF16 } from '../../files/convert.ts';
import type { ElementType } from '../../formats/format.ts';
import { formatByName } from '../../formats/registry.ts';
import type { Gpu } from '../../gpu/gpu.ts';
import type { BufferView } from '../../gpu/kernel.ts';
import { Scratch } from '../../gpu/scratch.ts';
import { randomU32 } from '../../graph/reference/random.ts';
import { gatherColumnsStep } from '../../kernels/permute.ts';
import { rowProductsStep } from '../../kernels/rows.ts';
import { type DenseSlice, denseSlices } from '../dense-slices.ts';
import { matrixError } from '../methods/matrix-error.ts';
import { ColumnSystem } from './column-system.ts';
import type { Coupling } from './couplings.ts';
import { placesOf } from './narrow-checkpoint.ts';
import type { Shrinking } from './shrinking.ts';

const F32 = formatByName('f32');

/** Most times that units are weighed anew, when some are gone and the others made up for it. */
const ROUNDS = 16;

/** What is known of the inputs of a matrix. */
export interface UnitInputs {
  /** f32 [k, k]; undefined where a device can't hold it, or nothing was calibrated. */
  readonly hessian?: BufferView | undefined;
  /** Its diagonal. */
  readonly meanSquare?: Float32Array | undefined;
  /** Of the inputs, where the reader has a bias: H is then their covariance. */
  readonly mean?: Float32Array | undefined;
}

/** What became of the units of a layer. */
export interface ChosenUnits {
  /** Ascending. */
  readonly kept: Uint32Array;
  /** What each was worth, before any went; in a later round, of those that were left. */
  readonly importance: ArrayLike<number>;
  /** The matrix that reads them, fitted: [rows, columns that stay], in its type. */
  readonly reader?: Uint8Array<ArrayBuffer>;
  /** Its bias, which makes up for what the matrix has lost on the mean input, in its type. */
  readonly bias?: Uint8Array<ArrayBuffer>;
  /** What that costs: tr(ΔW H ΔWᵀ) / tr(W H Wᵀ), without H in squares. */
  readonly error: number;
  /** What was done otherwise than asked for, and why. */
  readonly problem?: string;
}

/**
 * Chooses the units of a layer that stay, and fits the matrix that reads them. One with a bias b gets b' = b + W mean(x) − W' mean(x₍S₎), which keeps the mean of the outputs (as FLAP
 * does, An et al. 2024). What is then lost is tr(ΔW C ΔWᵀ), C = H − mean(x) mean(x)ᵀ being the covariance: W' and b' are the least squares of both together where C stands in H's
 * place, in scores as in the fit W' = W C₍:,S₎ C₍S,S₎⁻¹.
 * @param left how many stay
 * @param before those that an earlier round left, ascending; default: all
 * @throws NonFiniteError naming the weight; FileError, OutOfMemoryError, DeviceLostError, CancelledError
 */
export async function chooseUnits(
  source: { readonly gpu: Gpu; readonly checkpoint: Checkpoint; readonly signal?: AbortSignal },
  coupling: Coupling,
  left: number,
  shrinking: Shrinking,
  inputs: UnitInputs,
  before?: Uint32Array,
): Promise<ChosenUnits> {
  const work = new UnitChoice(source, coupling, inputs);
  try {
    for await (const chosen of work.narrow([left], shrinking, before)) return chosen;
    throw new Error('Nothing was chosen.');
  } finally {
    work.release();
  }
}

/**
 * What the outputs lose, the more units go: tr(ΔW H ΔWᵀ) / tr(W H Wᵀ), without H in squares.
 * @param stays how many stay, descending
 * @throws as `chooseUnits`
 */
export async function unitErrors(
  source: Parameters<typeof chooseUnits>[0],
  coupling: Coupling,
  stays: readonly number[],
  shrinking: Shrinking,
  inputs: UnitInputs,
): Promise<number[]> {
  const work = new UnitChoice(source, coupling, inputs);
  const errors: number[] = [];
  try {
    for await (const { error } of work.narrow(stays, shrinking)) errors.push(error);
    return errors;
  } finally {
    work.release();
  }
}

class UnitChoice {
  readonly #gpu: Gpu;
  readonly #checkpoint: Checkpoint;
  readonly #signal: AbortSignal | undefined;
  readonly #coupling: Coupling;
  readonly #inputs: UnitInputs;
  #system: ColumnSystem | undefined;

  constructor({ gpu, checkpoint, signal }: Parameters<typeof chooseUnits>[0], coupling: Coupling, inputs: UnitInputs) {
    this.#gpu = gpu;
    this.#checkpoint = checkpoint;
    this.#signal = signal;
    this.#coupling = coupling;
    this.#inputs = inputs;
  }

  /** Once for each number of units that stay, descending. */
  async *narrow(
    stays: readonly number[],
    { score, repair, seed }: Shrinking,
    earlier?: Uint32Array,
  ): AsyncGenerator<ChosenUnits> {
    const { units, layer, structure } = this.#coupling;
    const least = stays.at(-1)!;
    let kept: Uint32Array = earlier ?? Uint32Array.from({ length: units }, (_, unit) => unit);
    const all = kept.length;
    let problem = score === 'obs' || repair === 'refit' ? await this.#factor(kept) : undefined;
    const inRounds = score === 'obs' && problem === undefined;
    const sizes = inRounds
      ? undefined
      : score === 'random'
        ? Uint32Array.from({ length: units }, (_, unit) => randomU32(seed, layer * units + unit))
        : await this.#sizes(score === 'magnitude' ? undefined : this.#inputs.meanSquare);
    const importance = sizes ? Float64Array.from(kept, (unit) => sizes[unit]!) : await this.#costs();
    let worth: ArrayLike<number> = importance;
    for (const stay of stays) {
      const from = kept.length;
      const goes = from - stay;
      const rounds = inRounds && goes > 0 ? Math.min(Math.ceil((ROUNDS * goes) / (all - least)), goes) : 1;
      for (let round = 1; round <= rounds; round++) {
        if (inRounds && kept.length < all && problem === undefined) worth = await this.#costs();
        const left = from - Math.floor((goes * round) / rounds);
        const before = kept;
        kept = largest(before, worth, left);
        worth = worthOf(kept, before, worth);
        if (inRounds || repair === 'refit') problem ??= await this.#factor(kept);
      }
      const refit = repair === 'refit' && problem === undefined;
      const instead = [
        ...(score === 'obs' ? [`${structure} are ${inRounds ? 'not weighed anew' : 'chosen as wanda does'}`] : []),
        ...(repair === 'refit' ? ['nothing is fitted'] : []),
      ];
      const told = problem !== undefined && { problem: `${instead.join(', and ')}: ${problem}` };
      yield { kept, importance, ...(await this.#result(kept, refit)), ...told };
    }
  }

  /** Factors H in the columns of units. @returns why it can't be */
  async #factor(kept: Uint32Array): Promise<string | undefined> {
    this.release();
    const { hessian, meanSquare } = this.#inputs;
    if (!hessian || !meanSquare) {
      return `H of ${this.#coupling.units * this.#coupling.columns} columns is larger than what this device binds at once (${this.#gpu.bindingLimit} bytes)`;
    }
    const columns = placesOf(kept, this.#coupling.columns);
    const made = await ColumnSystem.make(this.#gpu, hessian, meanSquare, columns, this.#signal);
    if (typeof made === 'string') return made;
    this.#system = made;
    return undefined;
  }

  /** By how much the error grows with each unit that goes, once the others are fitted. */
  async #costs(): Promise<Float64Array> {
    const system = this.#system!;
    const { columns } = this.#coupling;
    const sums = new Float64Array(system.n / columns);
    for await (const slice of this.#slices()) {
      const scratch = new Scratch(this.#gpu);
      try {
        const fitted = await system.fitted(slice, scratch);
        const costs = await system.costs(fitted, slice.rows, columns);
        for (const [unit, cost] of costs.entries()) sums[unit]! += cost;
      } finally {
        scratch.release();
      }
    }
    return sums;
  }

  /** Σ w² over the columns of each unit, each times the mean square of its input where that is known. */
  async #sizes(meanSquare: Float32Array | undefined): Promise<Float64Array> {
    const { units, columns } = this.#coupling;
    const k = units * columns;
    const sums = new Float64Array(units);
    const identity = Uint32Array.from({ length: k }, (_, column) => column);
    for await (const { view, rows } of this.#slices()) {
      const scratch = new Scratch(this.#gpu);
      try {
        const order = scratch.upload(identity, 'columns');
        const turned = scratch.room(4 * k * rows, 'columns');
        const out = scratch.room(4 * k, 'squares');
        await this.#gpu.scheduler.run([
          gatherColumnsStep({ weights: view, order, out: turned, rows, k }),
          rowProductsStep({ a: turned, b: turned, out, rows: k, width: rows }),
        ]);
        const squares = new Float32Array((await this.#gpu.readBack(out.buffer, 0, 4 * k)).buffer);
        for (const [column, square] of squares.entries()) {
          sums[Math.floor(column / columns)]! += square * (meanSquare?.[column] ?? 1);
        }
      } finally {
        scratch.release();
      }
    }
    return sums;
  }

  /** The matrix with what is left of it, and what that costs. */
  async #result(kept: Uint32Array, refit: boolean): Promise<Pick<ChosenUnits, 'reader' | 'bias' | 'error'>> {
    const { reader: name, units, columns } = this.#coupling;
    const { type, shape } = this.#checkpoint.tensors.get(name)!;
    const k = units * columns;
    const places = placesOf(kept, columns);
    const n = places.length;
    const fitted = refit ? new Uint8Array(shape[0]! * n * (type === 'F32' ? 4 : 2)) : undefined;
    const { hessian, mean } = this.#inputs;
    /** (W − W') mean(x) */
    const shift = new Float64Array(shape[0]!);
    let [lost, all] = [0, 0];
    for await (const slice of this.#slices()) {
      const { rows, view } = slice;
      const scratch = new Scratch(this.#gpu);
      try {
        const stays = new Float32Array(rows * k);
        const before = fitted && !mean ? undefined : await this.#read(view, rows * k);
        let values: Float32Array | undefined;
        if (fitted) {
          const turned = await this.#read(await this.#system!.fitted(slice, scratch), n * rows);
          const bytes = encoded(transposed(turned, n, rows), type, name);
          fitted.set(bytes, (slice.rowStart * fitted.byteLength) / shape[0]!);
          // As it will be stored.
          values = decodeToF32(bytes, type);
        }
        for (let row = 0; row < rows; row++) {
          for (let i = 0; i < n; i++) {
            const at = row * k + places[i]!;
            stays[at] = values ? values[row * n + i]! : before![at]!;
          }
        }
        if (mean && before) {
          for (let at = 0; at < rows * k; at++) {
            shift[slice.rowStart + Math.floor(at / k)]! += (before[at]! - stays[at]!) * mean[at % k]!;
          }
        }
        const quantized = { format: F32, arrays: [scratch.upload(stays, 'what stays')] };
        lost += await matrixError(this.#gpu, { dense: slice, quantized, hessian });
        all += await matrixError(this.#gpu, { dense: slice, hessian });
      } finally {
        scratch.release();
      }
    }
    const bias = mean && { bias: await this.#shifted(shift) };
    return { error: all > 0 ? lost / all : 0, ...(fitted && { reader: fitted }), ...bias };
  }

  /** The bias of the reader, larger by as much. */
  async #shifted(shift: Float64Array): Promise<Uint8Array<ArrayBuffer>> {
    const name = this.#coupling.bias!;
    const { type } = this.#checkpoint.tensors.get(name)!;
    const before = decodeToF32(await this.#checkpoint.read(name, 0, undefined, this.#signal), type);
    return encoded(
      before.map((value, row) => value + shift[row]!),
      type,
      name,
    );
  }

  async #read({ buffer, offset = 0 }: BufferView, count: number): Promise<Float32Array> {
    return new Float32Array((await this.#gpu.readBack(buffer, offset, 4 * count)).buffer);
  }

  #slices(): AsyncGenerator<DenseSlice> {
    const info = this.#checkpoint.tensors.get(this.#coupling.reader)!;
    return denseSlices(this.#gpu, this.#checkpoint, info, F32, this.#signal);
  }

  release(): void {
    this.#system?.release();
    this.#system = undefined;
  }
}

/** The `count` of the units that are worth most, of equal ones the first, ascending. */
export function largest(units: Uint32Array, worth: ArrayLike<number>, count: number): Uint32Array {
  const order = Uint32Array.from(units.keys()).sort((a, b) => worth[b]! - worth[a]! || a - b);
  return order
    .subarray(0, count)
    .map((i) => units[i]!)
    .sort();
}

/** What some units were worth among others; both ascending. */
function worthOf(units: Uint32Array, among: Uint32Array, worth: ArrayLike<number>): Float64Array {
  let at = 0;
  return Float64Array.from(units, (unit) => {
    while (among[at] !== unit) at++;
    return worth[at]!;
  });
}

function transposed(values: Float32Array, height: number, width: number): Float32Array<ArrayBuffer> {
  const out = new Float32Array(values.length);
  for (let i = 0; i < height; i++) for (let j = 0; j < width; j++) out[j * height + i] = values[i * width + j]!;
  return out;
}

function encoded(values: Float32Array<ArrayBuffer>, type: ElementType, name: string): Uint8Array<ArrayBuffer> {
  if (type === 'F16') return encodeF16(values, name);
  return type === 'BF16' ? encodeBf16(values, name) : new Uint8Array(values.buffer);
}
