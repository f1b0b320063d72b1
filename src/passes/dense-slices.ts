import { OutOfMemoryError } from '../errors.ts';
import type { Checkpoint } from '../files/checkpoint.ts';
import type { TensorInfo } from '../files/safetensors-read.ts';
import { quote } from '../files/text.ts';
import { nonFinite } from '../formats/checks.ts';
import type { Format } from '../formats/format.ts';
import { greatestCommonDivisor, rowMultiple } from '../formats/layout.ts';
import { formatByName } from '../formats/registry.ts';
import type { Gpu } from '../gpu/gpu.ts';
import { Scratch } from '../gpu/scratch.ts';
import { dequantizeStep } from '../kernels/quantize.ts';
import { padToWord } from '../kernels/weight.ts';
import type { DenseRows } from './methods/matrix-error.ts';
import { denseFormatOf } from './stored-weight.ts';

/** Bytes of rows in f32 that are on the GPU together; methods hold some eight times as much. */
const SLICE_BYTES = 64 * 1024 * 1024;
/** Slices start at multiples of this many rows, or of those of a format, so that every array of every slice starts on a whole word. */
const SLICE_ROWS = 8;

/** Some rows of a matrix, in f32 on the GPU until the next are asked for. */
export interface DenseSlice extends DenseRows {
  readonly rowStart: number;
}

/** Rows of a slice. A format of stored blocks is cut where blocks end. */
export function sliceRows({ bindingLimit }: Pick<Gpu, 'bindingLimit'>, k: number, format: Format, band = 1): number {
  const multiple = sliceMultiple(k, format, band);
  return Math.max(1, Math.floor(Math.min(SLICE_BYTES, bindingLimit) / (4 * k * multiple))) * multiple;
}

function sliceMultiple(k: number, format: Format, band: number): number {
  const rows = format.blocks ? SLICE_ROWS : Math.max(SLICE_ROWS, rowMultiple(format, k));
  return [format.blocks?.layout.block.rows ?? 1, band].reduce(leastCommonMultiple, rows);
}

const leastCommonMultiple = (a: number, b: number): number => (a / greatestCommonDivisor(a, b)) * b;

/**
 * The rows of a dense matrix of a checkpoint, as many at a time as methods have room for. Slices start where `format` may be cut, and at multiples of `band`.
 * @throws NonFiniteError naming the weight; FileError, OutOfMemoryError, DeviceLostError
 */
export async function* denseSlices(
  gpu: Gpu,
  checkpoint: Pick<Checkpoint, 'read' | 'name'>,
  info: TensorInfo,
  format: Format,
  signal?: AbortSignal,
  band = 1,
): AsyncGenerator<DenseSlice> {
  const [all, k] = info.shape as [number, number];
  const most = sliceRows(gpu, k, format, band);
  const least = 4 * k * Math.min(all, sliceMultiple(k, format, band));
  if (least > gpu.bindingLimit) {
    throw new OutOfMemoryError(
      `Tensor ${quote(info.name)}: rows of it that belong together take ${least} bytes in f32, and this device reads at most ${gpu.bindingLimit} at once.${band > 1 ? ` Take blocks of fewer rows than ${band}.` : ''}`,
    );
  }
  for (let rowStart = 0; rowStart < all; rowStart += most) {
    const rows = Math.min(most, all - rowStart);
    const scratch = new Scratch(gpu);
    try {
      const bytes = padToWord(await checkpoint.read(info, rowStart, rows, signal));
      const from = scratch.room(bytes.byteLength, info.name);
      gpu.upload(from.buffer, bytes);
      const view = scratch.room(4 * rows * k, `${info.name} in f32`);
      const bad = scratch.upload(Uint32Array.of(0), 'bad');
      const [source, target] = [denseFormatOf(info.type)!, formatByName('f32')];
      await gpu.scheduler.run([
        dequantizeStep({ format: source, from: [from], target, to: view, rows, k, bad, name: info.name }),
      ]);
      const [found] = new Uint32Array((await gpu.readBack(bad.buffer, 0, 4)).buffer);
      if (found !== 0) throw nonFinite(rowStart * k + (~found! >>> 0), k, undefined, info.name);
      yield { view, rows, k, rowStart };
    } finally {
      scratch.release();
    }
  }
}
