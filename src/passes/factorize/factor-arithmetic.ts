import type { Format, HostArrays } from '../../formats/format.ts';
import { arrayBytes, contentBytes, rowMultiple } from '../../formats/layout.ts';
import { formatByName } from '../../formats/registry.ts';
import type { Gpu } from '../../gpu/gpu.ts';
import type { BufferView } from '../../gpu/kernel.ts';
import { Scratch } from '../../gpu/scratch.ts';
import { gemmScratch, gemmSteps } from '../../kernels/gemm.ts';
import { dequantizeStep } from '../../kernels/quantize.ts';
import { differenceStep } from '../../kernels/rows.ts';
import { uploadWeight, type Weight } from '../../kernels/weight.ts';
import { readFloats, uploadRows } from '../lowrank/dense-rows.ts';
import { matrixError } from '../methods/matrix-error.ts';

const run = (signal: AbortSignal | undefined) => ({ label: 'The factorization', ...(signal && { signal }) });

/** Room for another matrix f32 in parts of the same rows. @throws OutOfMemoryError */
export function sameRoom(gpu: Gpu, { format, rows, k, parts, byteLength }: Weight, label: string): Weight {
  const scratch = new Scratch(gpu);
  try {
    const made = parts.map((part) => ({ ...part, arrays: [scratch.room(4 * part.rows * k, label)] }));
    return { kind: 'dense', format, rows, k, byteLength, parts: made, release: () => scratch.release() };
  } catch (error) {
    scratch.release();
    throw error;
  }
}

/** The values of a matrix in any format, into f32. @param arrays of all its rows */
export async function expand(
  gpu: Gpu,
  arrays: HostArrays,
  format: Format,
  to: Weight,
  signal?: AbortSignal,
): Promise<void> {
  const { k } = to;
  // Parts may begin where some formats can't be cut.
  if (to.parts.some(({ rowStart }) => rowStart % rowMultiple(format, k) !== 0)) {
    uploadRows(gpu, to, format.reference.dequantize(arrays, to.rows, k), 0);
    return;
  }
  for (const { rowStart, rows, arrays: target } of to.parts) {
    const some = format.arrays.map((array) => {
      const start = contentBytes(array, rowStart, k);
      const bytes = new Uint8Array(arrayBytes(array, rows, k));
      bytes.set(arrays[array.name]!.subarray(start, start + contentBytes(array, rows, k)));
      return [array.name, bytes] as const;
    });
    const stored = uploadWeight(gpu, format, rows, k, Object.fromEntries(some), 'base');
    const scratch = new Scratch(gpu);
    try {
      const bad = scratch.upload(Uint32Array.of(0), 'bad');
      const from = stored.parts[0]!.arrays;
      const f32 = formatByName('f32');
      await gpu.scheduler.run(
        [dequantizeStep({ format, from, target: f32, to: target[0]!, rows, k, bad })],
        run(signal),
      );
    } finally {
      scratch.release();
      stored.release();
    }
  }
}

/** to = a − b, matrices f32 in the same parts. */
export async function subtract(gpu: Gpu, a: Weight, b: Weight, to: Weight, signal?: AbortSignal): Promise<void> {
  const view = ({ parts }: Weight, i: number): BufferView => parts[i]!.arrays[0]!;
  const steps = a.parts.map(({ rows }, i) =>
    differenceStep({ a: view(a, i), b: view(b, i), out: view(to, i), count: rows * a.k }),
  );
  await gpu.scheduler.run(steps, run(signal));
}

/** to = left · right, or added to what is there. */
export async function addProduct(
  gpu: Gpu,
  { left, right, rank }: { readonly left: Float32Array; readonly right: Float32Array; readonly rank: number },
  to: Weight,
  adds: boolean,
  signal?: AbortSignal,
): Promise<void> {
  const scratch = new Scratch(gpu);
  const { k: columns } = to;
  try {
    const [a, b] = [scratch.upload(left, 'left factor'), scratch.upload(right, 'right factor')];
    const steps = to.parts.flatMap((part) =>
      gemmSteps({
        ...{ a: { ...a, width: rank, start: part.rowStart * rank }, b: { ...b, width: columns } },
        ...{ c: { ...part.arrays[0]!, width: columns }, rows: part.rows, columns, inner: rank, keep: Number(adds) },
        scratch: scratch.room(Math.max(4, gemmScratch(part.rows, columns, rank)), 'parts'),
      }),
    );
    await gpu.scheduler.run(steps, run(signal));
  } finally {
    scratch.release();
  }
}

/** Rows of which errors are computed together start where a binding may. */
const ALIGNED_ROWS = 64;
const ERROR_BYTES = 64 * 1024 * 1024;

/** tr(Δ H Δᵀ) / tr(W H Wᵀ), or in squares where there is no H, of a matrix f32 and one in its place, in the same parts. */
export async function relativeError(
  gpu: Gpu,
  whole: Weight,
  other: Weight,
  hessian: BufferView | undefined,
): Promise<number> {
  const { k, format } = whole;
  const most = Math.max(1, Math.floor(ERROR_BYTES / (4 * k * ALIGNED_ROWS))) * ALIGNED_ROWS;
  let [lost, all] = [0, 0];
  for (const [i, part] of whole.parts.entries()) {
    for (let row = 0; row < part.rows; row += most) {
      const rows = Math.min(most, part.rows - row);
      const cut = ({ buffer, offset = 0 }: BufferView) => ({
        ...{ buffer, offset: offset + 4 * row * k, size: 4 * rows * k },
      });
      const dense = { view: cut(part.arrays[0]!), rows, k };
      all += await matrixError(gpu, { dense, hessian });
      const quantized = { format, arrays: [cut(other.parts[i]!.arrays[0]!)] };
      lost += await matrixError(gpu, { dense, quantized, hessian });
    }
  }
  return all > 0 ? lost / all : 0;
}

/** All of a matrix f32. */
export async function readAll(gpu: Gpu, { parts, rows, k }: Weight): Promise<Float32Array<ArrayBuffer>> {
  const values = new Float32Array(rows * k);
  for (const part of parts) values.set(await readFloats(gpu, part.arrays[0]!, part.rows * k), part.rowStart * k);
  return values;
}
