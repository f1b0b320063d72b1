import { type Format, formatByName, formats, type Gpu, openCheckpoint, openPath, weighs } from 'compressa';
import type { Claim } from '../claim.ts';
import { differing, quantizedBlocks, valuesOfBlocks } from '../ggml-blocks.ts';
import { type Ggml, type GgmlType, openGgml } from '../peers/ggml.ts';
import { gaussian, random } from '../random.ts';

const K = 2048;
const ROWS = 64;

/** Formats of ggml whose scales can be searched for. */
const OFFERED = formats.flatMap((format) => (format.codecs.ggml && weighs(format) ? [format.name as GgmlType] : []));

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

/** Importances of `k` columns whose logarithms are normal. */
function importanceOf(k: number): Float32Array {
  const next = random(11);
  return Float32Array.from({ length: k }, () => Math.exp(gaussian(next)));
}

/** The squared errors of our blocks and of ggml's over some matrices, each weighed by an importance of columns or not. */
async function compare(gpu: Gpu, ggml: Ggml, type: GgmlType, name: string, matrices: Matrix[], weighted: boolean) {
  const format = formatByName(type);
  let [ours, theirs, shuffled, plain] = [0, 0, 0, 0];
  for (const { rows, k, weights } of matrices) {
    const importance = weighted ? importanceOf(k) : undefined;
    const error = (blocks: Uint8Array, wanted: Float32Array) =>
      ggml
        .dequantize(type, blocks, rows * k)
        .reduce((sum, value, i) => sum + (importance?.[i % k] ?? 1) * (value - wanted[i]!) ** 2, 0);
    const searched = { method: 'search' } as const;
    const without = await quantizedBlocks(gpu, format, weights, rows, k, searched);
    const blocks = importance
      ? await quantizedBlocks(gpu, format, weights, rows, k, { ...searched, importance })
      : without;
    ours += error(blocks, weights);
    plain += error(without, weights);
    theirs += error(ggml.quantize(type, weights, rows, k, importance), weights);
    shuffled += error(blocks, weights.toReversed());
  }
  const what = weighted ? 'weighted squared error' : 'squared error';
  const control = weighted ? `; ours without the importance, ${(plain / theirs).toFixed(4)}` : '';
  return {
    claim: `${type}: ${what} over ggml’s, ${name}`,
    threshold: `at most 1.000; of other weights above 10${weighted ? '; more without the importance' : ''}`,
    measured: `${(ours / theirs).toFixed(4)}; ${(shuffled / theirs).toFixed(0)}${control}`,
    pass: ours <= theirs && shuffled > 10 * theirs && (!weighted || ours < plain),
  };
}

/**
 * Formats whose scales can be searched for lose less than with ggml's own search, or its rule where it has none, with an importance of
 * columns and without: the squared error over a tensor, of our blocks and of ggml's, both decoded by ggml's own functions, so that a
 * wrong layout would show. Decoding equals ggml's value for value (for formats that are not always searched for, ggml-bytes shows it).
 */
export const claim: Claim = {
  name: 'ggml error',
  async *measure(gpu, takes) {
    const ggml = openGgml();
    if (typeof ggml === 'string') {
      yield { claim: 'error against ggml’s', threshold: 'ggml to compare with', measured: ggml, pass: false };
      return;
    }
    const sample = await sampleMatrices();
    for (const type of OFFERED.filter(takes)) {
      const format = formatByName(type);
      const sets: Record<string, Matrix[]> = { 'the sample model': sample };
      for (const [seed, [name, draw]] of Object.entries(DISTRIBUTIONS).entries()) {
        const next = random(seed + 1);
        sets[name] = [{ rows: ROWS, k: K, weights: Float32Array.from({ length: ROWS * K }, () => draw(next)) }];
      }
      for (const [name, matrices] of Object.entries(sets)) {
        yield await compare(gpu, ggml, type, name, matrices, false);
        yield await compare(gpu, ggml, type, name, matrices, true);
      }
      if (!format.searched) continue;
      const blocks = anyBlocks(format);
      const expected = ggml.dequantize(type, blocks, ROWS * K);
      const wrong = differing(await valuesOfBlocks(gpu, format, blocks, ROWS, K), expected);
      yield {
        claim: `${type}: decoded values of random blocks that differ from ggml’s`,
        threshold: '0',
        measured: `${wrong} of ${expected.length}`,
        pass: wrong === 0 && ggml.rowBytes(type, K) === format.codecs.ggml!.bytesPerRow(K),
      };
    }
  },
};
