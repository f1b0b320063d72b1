import {
  allocateWeight,
  dequantizeStep,
  type Format,
  formatByName,
  formats,
  type Gpu,
  openCheckpoint,
  openPath,
  quantizeStep,
  readWeight,
  uploadWeight,
} from 'compressa';
import type { Claim, Measurement } from '../claim.ts';
import { type GgmlType, openGgml } from '../peers/ggml.ts';

const K = 2048;
const ROWS = 64;

/** Formats whose scales are searched for, here and in ggml. */
const SEARCHED = formats.filter((format) => format.searched).map(({ name }) => name as GgmlType);

/** Xorshift: the same numbers everywhere. */
function random(seed: number): () => number {
  let state = (seed * 2654435761) >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

const gaussian = (next: () => number) => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());

const DISTRIBUTIONS: Readonly<Record<string, (next: () => number) => number>> = {
  Gaussian: (next) => 0.02 * gaussian(next),
  Laplace: (next) => -0.02 * Math.sign(next() - 0.5) * Math.log(1 - next()),
  // Four degrees of freedom.
  'Student-t': (next) => {
    const chi = gaussian(next) ** 2 + gaussian(next) ** 2 + gaussian(next) ** 2 + gaussian(next) ** 2;
    return (0.02 * gaussian(next)) / Math.sqrt(chi / 4);
  },
};

interface Matrix {
  readonly rows: number;
  readonly k: number;
  readonly weights: Float32Array;
}

/** The linear matrices of the sample model, as f32: rows of 256 weights and more. */
async function sampleMatrices(): Promise<Matrix[]> {
  const checkpoint = await openCheckpoint(await openPath('models/union-7m/model.safetensors'));
  const matrices: Matrix[] = [];
  for (const info of checkpoint.tensors.values()) {
    if (info.shape.length !== 2 || !info.name.includes('proj') || info.shape[1]! % 256 !== 0) continue;
    const bytes = await checkpoint.read(info);
    const reference = formatByName('f16').reference;
    const [rows, k] = info.shape as [number, number];
    matrices.push({ rows, k, weights: reference.dequantize({ data: bytes }, rows, k) });
  }
  await checkpoint.close();
  return matrices;
}

function buffer(gpu: Gpu, bytes: number, data?: Float32Array): GPUBuffer {
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
  const made = gpu.device.createBuffer({ size: bytes, usage });
  if (data) gpu.device.queue.writeBuffer(made, 0, data as Float32Array<ArrayBuffer>);
  return made;
}

/** Our blocks: quantized by our kernel, put in ggml's order by our codec. */
async function quantized(gpu: Gpu, format: Format, { rows, k, weights }: Matrix): Promise<Uint8Array> {
  const from = buffer(gpu, weights.byteLength, weights);
  const bad = buffer(gpu, 4);
  const weight = allocateWeight(gpu, format, rows, k, 'claim');
  try {
    await gpu.scheduler.run([
      quantizeStep({
        source: formatByName('f32'),
        from: { buffer: from },
        format,
        to: weight.parts[0]!.arrays,
        rows,
        k,
        bad: { buffer: bad },
      }),
    ]);
    return format.codecs.ggml!.encode(await readWeight(gpu, weight), rows, k);
  } finally {
    weight.release();
    from.destroy();
    bad.destroy();
  }
}

/** The values of blocks: our codec, our kernel. */
async function dequantized(gpu: Gpu, format: Format, blocks: Uint8Array): Promise<Float32Array> {
  const weight = uploadWeight(gpu, format, ROWS, K, format.codecs.ggml!.decode(blocks, ROWS, K), 'claim');
  const to = buffer(gpu, ROWS * K * 4);
  const bad = buffer(gpu, 4);
  try {
    await gpu.scheduler.run([
      dequantizeStep({
        format,
        from: weight.parts[0]!.arrays,
        target: formatByName('f32'),
        to: { buffer: to },
        rows: ROWS,
        k: K,
        bad: { buffer: bad },
      }),
    ]);
    return new Float32Array((await gpu.readBack(to, 0, ROWS * K * 4)).slice().buffer);
  } finally {
    weight.release();
    to.destroy();
    bad.destroy();
  }
}

/** Random bits under steps that are finite: what a file may hold. */
function anyBlocks(format: Format): Uint8Array {
  const next = random(7);
  const host = Object.fromEntries(
    format.arrays.map((array) => {
      const bytes = format.reference.quantize(new Float32Array(ROWS * K), ROWS, K)[array.name]!;
      for (let i = 0; i < bytes.length; i++) {
        const byte = Math.floor(next() * 256);
        // The high byte of an f16: an exponent of all ones means infinity or NaN.
        bytes[i] = array.type === 'F16' && i % 2 === 1 ? byte & 0xbf : byte;
      }
      return [array.name, bytes];
    }),
  );
  return format.codecs.ggml!.encode(host, ROWS, K);
}

/**
 * Formats that are searched for lose less than ggml's own search: the squared error over a tensor, of our blocks and of ggml's, both
 * decoded by ggml's own functions, so that a wrong layout would show. Decoding equals ggml's value for value.
 */
export const claim: Claim = {
  name: 'ggml error',
  async measure(gpu) {
    const ggml = openGgml();
    if (typeof ggml === 'string') {
      return [{ claim: 'error against ggml’s', threshold: 'ggml to compare with', measured: ggml, pass: false }];
    }
    const sample = await sampleMatrices();
    const results: Measurement[] = [];
    for (const type of SEARCHED) {
      const format = formatByName(type);
      const sets: Record<string, Matrix[]> = { 'the sample model': sample };
      for (const [seed, [name, draw]] of Object.entries(DISTRIBUTIONS).entries()) {
        const next = random(seed + 1);
        sets[name] = [{ rows: ROWS, k: K, weights: Float32Array.from({ length: ROWS * K }, () => draw(next)) }];
      }
      for (const [name, matrices] of Object.entries(sets)) {
        let [ours, theirs, shuffled] = [0, 0, 0];
        for (const matrix of matrices) {
          const { rows, k, weights } = matrix;
          const error = (blocks: Uint8Array, wanted: Float32Array) =>
            ggml.dequantize(type, blocks, rows * k).reduce((sum, value, i) => sum + (value - wanted[i]!) ** 2, 0);
          const blocks = await quantized(gpu, format, matrix);
          ours += error(blocks, weights);
          theirs += error(ggml.quantize(type, weights, rows, k), weights);
          shuffled += error(blocks, weights.toReversed());
        }
        results.push({
          claim: `${type}: squared error over ggml’s, ${name}`,
          threshold: 'at most 1.000; of other weights above 10',
          measured: `${(ours / theirs).toFixed(4)}; ${(shuffled / theirs).toFixed(0)}`,
          pass: ours <= theirs && shuffled > 10 * theirs,
        });
      }
      const blocks = anyBlocks(format);
      const expected = ggml.dequantize(type, blocks, ROWS * K);
      const decoded = await dequantized(gpu, format, blocks);
      const wrong = expected.reduce((sum, value, i) => sum + (decoded[i] === value ? 0 : 1), 0);
      results.push({
        claim: `${type}: decoded values of random blocks that differ from ggml’s`,
        threshold: '0',
        measured: `${wrong} of ${expected.length}`,
        pass: wrong === 0 && ggml.rowBytes(type, K) === format.codecs.ggml!.bytesPerRow(K),
      });
    }
    return results;
  },
};
