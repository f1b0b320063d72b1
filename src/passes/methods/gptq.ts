import type { Format } from '../../formats/format.ts';
import type { Gpu } from '../../gpu/gpu.ts';
import type { BufferView, Step } from '../../gpu/kernel.ts';
import { Scratch } from '../../gpu/scratch.ts';
import type { DeviceArrays } from '../../kernels/bind-arrays.ts';
import { type ChooseCodesArguments, CODES_BLOCK, chooseCodesSteps, levelTable } from '../../kernels/choose-codes.ts';
import { gridStep } from '../../kernels/grid.ts';
import { type Marked, markColumnsStep, slotCodesStep, slotsOf } from '../../kernels/mark-columns.ts';
import { packStep } from '../../kernels/pack.ts';
import { gatherColumnsStep, scatterCodesStep } from '../../kernels/permute.ts';
import { codeErrorsStep, refitSteps, scaleStoredStep } from '../../kernels/refit.ts';
import type { FactoredHessian } from './factored-hessian.ts';
import type { DenseRows } from './matrix-error.ts';
import { type StoredScales, storedScales } from './stored-scales.ts';

/** Weights of which a mask leaves some out, whose codes are chosen in the same sweep. */
export interface Masked extends Marked {
  /** u32 [maskWords(rows, k)] */
  readonly mask: BufferView;
  /** f32 [rows, k]: weights that make up for what pruning takes, where they are known. The first pass chooses codes for these, rounds of refinement for both losses. */
  readonly repaired?: BufferView | undefined;
}

/** How codes are refined, and which weights are masked. */
export interface GptqOptions {
  /** Rounds of refinement behind the pass: scales re-fitted with codes fixed, then each code chosen anew under all others. */
  readonly rounds: number;
  readonly masked?: Masked | undefined;
  readonly signal?: AbortSignal;
}

/** Of conjugate gradients, without and with offsets: these leave less than 1% of what could be gained (test/gpu/algebra/refit.test.ts). */
const ITERATIONS = { 1: 3, 2: 4 } as const;

/**
 * Chooses the codes of some rows by GPTQ under the scales that `arrays` hold (static groups, act-order), then refines both in rounds. Works on any
 * format with a grid; scales are re-fitted where the format stores them as floats. With a mask, weights that it leaves out become 0 in the same sweep, and those that
 * stay make up for both (SparseGPT's joint form, Frantar and Alistarh 2023).
 * @param dense before anything was pruned
 * @param arrays quantized already, of slots where they are packed; codes and scales are replaced
 * @throws FormatError for a format without a grid; OutOfMemoryError, DeviceLostError, CancelledError
 */
export async function gptq(
  gpu: Gpu,
  dense: DenseRows,
  format: Format,
  arrays: DeviceArrays,
  hessian: FactoredHessian,
  { rounds, masked, signal }: GptqOptions,
): Promise<void> {
  const work = new Columns(gpu, dense, format, arrays, hessian, masked);
  try {
    await work.run([...work.open(), ...work.choose('factor'), ...work.turnToOriginal()], signal);
    for (let round = 0; round < rounds; round++) await work.run([...work.refit(), ...work.choose('descent')], signal);
    await work.run(work.close(), signal);
  } finally {
    work.release();
  }
}

/**
 * Re-fits the scales of some rows to H, their codes as they are: refinement behind any method. Does nothing for a format that keeps no scales as floats.
 * @param arrays quantized already; scales are replaced
 * @throws FormatError for a format without a grid; OutOfMemoryError, DeviceLostError, CancelledError
 */
export async function refitScales(
  gpu: Gpu,
  dense: DenseRows,
  format: Format,
  arrays: DeviceArrays,
  hessian: FactoredHessian,
  signal?: AbortSignal,
): Promise<void> {
  if (!storedScales(format, dense.k)) return;
  const work = new Columns(gpu, dense, format, arrays, hessian);
  try {
    await work.run([...work.open(), ...work.choose('nearest'), ...work.refit(), ...work.close()], signal);
  } finally {
    work.release();
  }
}

type Five = readonly [BufferView, BufferView, BufferView, BufferView, BufferView];

/** Some rows of a matrix, column by column in the order of H, with all that choosing codes and fitting scales takes. */
class Columns {
  readonly #gpu: Gpu;
  readonly #scratch: Scratch;
  readonly #dense: DenseRows;
  readonly #format: Format;
  readonly #arrays: DeviceArrays;
  readonly #hessian: FactoredHessian;
  readonly #masked: Masked | undefined;
  /** Weights of a row that are stored. */
  readonly #slots: number;
  readonly #shared: Omit<ChooseCodesArguments, 'matrix' | 'pass'> & { readonly place: BufferView };
  readonly #codes: BufferView;
  readonly #levels: BufferView;
  #fitting:
    | { readonly stored: StoredScales; readonly rooms: readonly [BufferView, BufferView]; readonly systems: Five }
    | undefined;

  constructor(
    gpu: Gpu,
    dense: DenseRows,
    format: Format,
    arrays: DeviceArrays,
    hessian: FactoredHessian,
    masked?: Masked,
  ) {
    this.#gpu = gpu;
    this.#scratch = new Scratch(gpu);
    this.#dense = dense;
    this.#format = format;
    this.#arrays = arrays;
    this.#hessian = hessian;
    this.#masked = masked;
    const { rows, k } = dense;
    this.#slots = slotsOf(masked, k);
    const stored = rows * this.#slots;
    const grid = format.grid!;
    const scratch = this.#scratch;
    try {
      this.#codes = scratch.room(Math.ceil(stored / 4) * 4, 'codes');
      this.#levels = scratch.upload(Float32Array.from(grid.levels), 'levels');
      this.#shared = {
        weights: this.#columns('weights in order'),
        errors: this.#columns('errors'),
        chosen: this.#columns('codes in order'),
        scales: scratch.room((8 * stored) / grid.group, 'scales'),
        table: scratch.upload(levelTable(grid), 'levels in order'),
        scratch: scratch.room(4 * CODES_BLOCK * rows, 'products'),
        ...{ order: hessian.order, place: hessian.place, gridRows: rows, grid, rows, k },
        ...(masked && { marked: masked }),
      };
    } catch (error) {
      scratch.release();
      throw error;
    }
  }

  #columns(label: string): BufferView {
    return this.#scratch.room(4 * this.#dense.rows * this.#dense.k, label);
  }

  run(steps: readonly Step[], signal: AbortSignal | undefined): Promise<void> {
    return this.#gpu.scheduler.run(steps, { label: 'The quantization', ...(signal && { signal }) });
  }

  /** Reads scales, and brings the weights in order. */
  open(): Step[] {
    const { view, rows, k } = this.#dense;
    const { order, weights, errors, chosen, grid } = this.#shared;
    this.#gpu.clear(errors.buffer, 4 * rows * k);
    const masked = this.#masked;
    return [
      this.#readScales(),
      gatherColumnsStep({ weights: masked?.repaired ?? view, order, out: weights, rows, k }),
      ...(masked ? [markColumnsStep({ marked: masked, mask: masked.mask, grid, order, chosen, rows, k })] : []),
    ];
  }

  /** Where the first pass was over repaired weights: what is lost of the original ones. */
  turnToOriginal(): Step[] {
    if (!this.#masked?.repaired) return [];
    const { view, rows, k } = this.#dense;
    const { order, weights } = this.#shared;
    return [gatherColumnsStep({ weights: view, order, out: weights, rows, k }), this.#codeErrors()];
  }

  #codeErrors(): Step {
    return codeErrorsStep({ ...this.#shared, levels: this.#levels });
  }

  #readScales(): Step {
    const { rows } = this.#dense;
    return gridStep({ format: this.#format, from: this.#arrays, to: this.#shared.scales, rows, k: this.#slots });
  }

  choose(pass: ChooseCodesArguments['pass']): Step[] {
    const { factor, matrix } = this.#hessian;
    return chooseCodesSteps({ ...this.#shared, pass, matrix: pass === 'factor' ? factor : matrix });
  }

  /** Scales for the codes that there are, and what is lost then. */
  refit(): Step[] {
    const { rows } = this.#dense;
    const slots = this.#slots;
    const stored = this.#fitting?.stored ?? storedScales(this.#format, slots);
    if (!stored) return [];
    const units = slots / stored.unit;
    const system = () => this.#scratch.room(4 * stored.parts * units * rows, 'systems');
    this.#fitting ??= {
      stored,
      rooms: [this.#columns('values'), this.#columns('products with H')],
      systems: [system(), system(), system(), system(), system()],
    };
    const { rooms, systems } = this.#fitting;
    const [change] = systems;
    return [
      ...refitSteps({
        ...this.#shared,
        ...{
          hessian: this.#hessian.matrix,
          unit: stored.unit,
          parts: stored.parts,
          iterations: ITERATIONS[stored.parts],
        },
        ...{ scratch: rooms, systems },
      }),
      ...stored.arrays.map(({ index, ...array }) =>
        scaleStoredStep({ change, parts: stored.parts, stored: this.#arrays[index]!, ...array, rows, units }),
      ),
      this.#readScales(),
      this.#codeErrors(),
    ];
  }

  /** Puts the codes into the arrays. */
  close(): Step[] {
    const { rows, k } = this.#dense;
    const { chosen, place, scales, grid } = this.#shared;
    const codes = this.#codes;
    const { mask, packing } = this.#masked ?? {};
    const scattered =
      mask && packing
        ? slotCodesStep({ packing, grid, chosen, place, mask, scales, levels: this.#levels, codes, rows, k })
        : scatterCodesStep({ chosen, place, codes, rows, k });
    return [scattered, packStep({ format: this.#format, codes, to: this.#arrays, rows, k: this.#slots })];
  }

  release(): void {
    this.#scratch.release();
  }
}
