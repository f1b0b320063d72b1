// The library on a page of its own, for `bench/claims/demo-equal.ts`.
import { choiceOf, formatChoices, formatOf, methodChoices } from '../../demo/src/engine/knobs.ts';
import { recipeOfKnobs } from '../../demo/src/engine/recipe-of-knobs.ts';
import type { Knobs } from '../../demo/src/view-state.ts';
import { openCheckpoint } from '../../src/files/checkpoint.ts';
import { encodeF16 } from '../../src/files/convert.ts';
import { writeSafetensors } from '../../src/files/safetensors-write.ts';
import { memorySink } from '../../src/files/sink.ts';
import { memorySource } from '../../src/files/source.ts';
import { formatByName } from '../../src/formats/registry.ts';
import type { Gpu } from '../../src/gpu/gpu.ts';
import { openGpu } from '../../src/gpu/open-gpu.ts';
import { Scratch } from '../../src/gpu/scratch.ts';
import { compress } from '../../src/passes/compress.ts';
import { matrixError } from '../../src/passes/methods/matrix-error.ts';
import { checkWeight } from '../../src/passes/stored-weight.ts';
import { WholeReader, wholeWeights } from '../../src/passes/whole-weight.ts';

/** What a recipe makes of a tensor, to be compared. */
export interface Made {
  /** SHA-256 of the values that are left, as f32. */
  readonly weights: string;
  /** ‖W − Ŵ‖² / ‖W‖² */
  readonly error: number;
  /** In the file. */
  readonly bytes: number;
  /** Where weights are not zero: a bit each, rows in whole words. */
  readonly left: readonly number[];
}

declare global {
  interface Window {
    library?: Library;
  }
}

/** The library on a file of one matrix. */
class Library {
  readonly #gpu = openGpu();
  #file = new Uint8Array();
  #name = '';

  /** Every format and method that the demo offers for a tensor, but those that the library would ask a calibration for to scale activations: their weights are another format's. */
  offered(): Knobs[] {
    return formatChoices().flatMap((choice): Knobs[] => {
      const { group } = choiceOf(formatOf(choice, 64));
      const plain: Knobs = { format: formatOf(choice, group), pattern: '', rank: 0 };
      if (choice !== 'keep' && formatByName(plain.format).activations === 'static') return [];
      const methods = methodChoices(plain.format);
      return methods.length === 0 ? [plain] : methods.map((method) => ({ ...plain, method }));
    });
  }

  /** @returns the file, of one f16 matrix [rows, k], in base64 */
  async take(name: string, rows: number, k: number, values: readonly number[]): Promise<string> {
    const sink = memorySink();
    const writer = await writeSafetensors(sink, [{ name, type: 'F16', shape: [rows, k] }]);
    await writer.write(name, encodeF16(Float32Array.from(values), name));
    await writer.finish();
    [this.#file, this.#name] = [sink.bytes(), name];
    return btoa(Array.from(this.#file, (byte) => String.fromCharCode(byte)).join(''));
  }

  /** What it writes for these knobs, read back by itself. @throws CompressaError where it refuses them */
  async make(knobs: Knobs): Promise<Made> {
    const gpu = await this.#gpu;
    const sink = memorySink();
    const report = await compress(memorySource('a.safetensors', this.#file), sink, {
      gpu,
      recipe: recipeOfKnobs(knobs),
    });
    const [before, after] = [await this.#read(gpu, this.#file), await this.#read(gpu, sink.bytes())];
    const scratch = new Scratch(gpu);
    try {
      const { rows, k } = before;
      const dense = { view: scratch.upload(before.values, 'before'), rows, k };
      const quantized = { format: formatByName('f32'), arrays: [scratch.upload(after.values, 'after')] };
      const lost = await matrixError(gpu, { dense, quantized });
      const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', after.values as Float32Array<ArrayBuffer>));
      return {
        weights: Array.from(hash, (byte) => byte.toString(16).padStart(2, '0')).join(''),
        error: lost / (await matrixError(gpu, { dense })),
        bytes: report.tensors[0]!.bytesAfter,
        left: leftOf(after.values, rows, k),
      };
    } finally {
      scratch.release();
    }
  }

  async #read(gpu: Gpu, file: Uint8Array) {
    const checkpoint = await openCheckpoint(memorySource('a', file), { checkWeight });
    const weight = wholeWeights(checkpoint).get(this.#name)!;
    const reader = new WholeReader(gpu, checkpoint, weight);
    try {
      const [rows, k] = weight.shape as [number, number];
      return { rows, k, values: await reader.read(0, rows) };
    } finally {
      reader.release();
      await checkpoint.close();
    }
  }
}

function leftOf(values: Float32Array, rows: number, k: number): number[] {
  const words = Math.ceil(k / 32);
  const left = new Uint32Array(rows * words);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < k; column++) {
      if (values[row * k + column] !== 0) left[row * words + (column >> 5)]! |= 1 << (column & 31);
    }
  }
  return [...left];
}

window.library = new Library();
