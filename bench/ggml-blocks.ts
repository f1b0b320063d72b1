// Blocks of ggml made and read by our kernels, for the claims that hold them to ggml's own.
import {
  allocateWeight,
  dequantizeStep,
  type Format,
  formatByName,
  type Gpu,
  type QuantizeOptions,
  quantizeStep,
  readWeight,
  uploadWeight,
} from 'compressa';

function storage(gpu: Gpu, bytes: number, data?: Float32Array): GPUBuffer {
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
  const buffer = gpu.device.createBuffer({ size: bytes, usage });
  if (data) gpu.device.queue.writeBuffer(buffer, 0, data as Float32Array<ArrayBuffer>);
  return buffer;
}

/** Our blocks: quantized by our kernel, put in ggml's order by our codec. */
export async function quantizedBlocks(
  gpu: Gpu,
  format: Format,
  weights: Float32Array,
  rows: number,
  k: number,
  { method = 'rtn', importance }: QuantizeOptions = {},
): Promise<Uint8Array> {
  const from = storage(gpu, weights.byteLength, weights);
  const bad = storage(gpu, 4);
  const columns = importance && storage(gpu, importance.byteLength, importance);
  const weight = allocateWeight(gpu, format, rows, k, 'claim');
  try {
    const steps = weight.parts.map((part) =>
      quantizeStep({
        source: formatByName('f32'),
        from: { buffer: from, offset: part.rowStart * k * 4 },
        format,
        to: part.arrays,
        rows: part.rows,
        k,
        bad: { buffer: bad },
        method,
        ...(columns && { importance: { buffer: columns } }),
      }),
    );
    await gpu.scheduler.run(steps);
    return format.codecs.ggml!.encode(await readWeight(gpu, weight), rows, k);
  } finally {
    weight.release();
    columns?.destroy();
    from.destroy();
    bad.destroy();
  }
}

/** The values of blocks: our codec, our kernel. */
export async function valuesOfBlocks(
  gpu: Gpu,
  format: Format,
  blocks: Uint8Array,
  rows: number,
  k: number,
): Promise<Float32Array> {
  const weight = uploadWeight(gpu, format, rows, k, format.codecs.ggml!.decode(blocks, rows, k), 'claim');
  const to = storage(gpu, rows * k * 4);
  const bad = storage(gpu, 4);
  try {
    const steps = weight.parts.map((part) =>
      dequantizeStep({
        format,
        from: part.arrays,
        target: formatByName('f32'),
        to: { buffer: to, offset: part.rowStart * k * 4 },
        rows: part.rows,
        k,
        bad: { buffer: bad },
      }),
    );
    await gpu.scheduler.run(steps);
    return new Float32Array((await gpu.readBack(to, 0, rows * k * 4)).slice().buffer);
  } finally {
    weight.release();
    to.destroy();
    bad.destroy();
  }
}

/** How many values differ; zeros of both signs are one value, NaN is none. */
export const differing = (a: Float32Array, b: Float32Array): number =>
  b.reduce((sum, value, i) => sum + (a[i] === value ? 0 : 1), 0);
