import { type Format, formatByName, type Gpu, type HostArrays, quantizeStep } from 'compressa';
import type { Claim, Measurement } from '../claim.ts';
import { gaussian, random } from '../random.ts';

const ROWS = 64;
const K = 2048;
const GROUP = 64;

/** The arrays that the GPU makes. */
async function quantized(gpu: Gpu, format: Format, weights: Float32Array): Promise<HostArrays> {
  const made: GPUBuffer[] = [];
  const buffer = (size: number) => {
    const one = gpu.memory.allocate(size);
    made.push(one);
    return one;
  };
  const size = (array: Format['arrays'][number]) => {
    const bytes = { U8: 1, F16: 2 }[array.type as 'U8' | 'F16'];
    return ROWS * array.elementsPerRow(K) * bytes;
  };
  try {
    const [from, bad] = [buffer(4 * weights.length), buffer(4)];
    gpu.upload(from, new Uint8Array(weights.buffer));
    gpu.upload(bad, new Uint8Array(4));
    const to = format.arrays.map((array) => ({ buffer: buffer(size(array)) }));
    await gpu.scheduler.run([
      quantizeStep({
        source: formatByName('f32'),
        from: { buffer: from },
        format,
        to,
        rows: ROWS,
        k: K,
        bad: { buffer: bad },
      }),
    ]);
    const host: HostArrays = {};
    for (const [i, array] of format.arrays.entries()) {
      host[array.name] = await gpu.readBack(to[i]!.buffer, 0, size(array));
    }
    return host;
  } finally {
    for (const one of made) gpu.memory.release(one);
  }
}

const halfFloat = (bits: number): number => {
  const [exponent, mantissa] = [(bits >> 10) & 31, bits & 1023];
  const magnitude = exponent === 0 ? mantissa * 2 ** -24 : (1024 + mantissa) * 2 ** (exponent - 25);
  return bits & 0x8000 ? -magnitude : magnitude;
};

/**
 * Weights as the specification of dense packing has them, as compressed-tensors does: the codes of a row are one stream of bits in
 * little-endian 32-bit words, each from its lowest bit on, so that 32 codes take three words; code − 4 times the scale of the group.
 * Written on whole numbers, with no part of the engine.
 */
function decoded({ codes, scales }: HostArrays, width = 3): Float32Array {
  const values = new Float32Array(ROWS * K);
  const rowBytes = (K * 3) / 8;
  for (let row = 0; row < ROWS; row++) {
    let stream = 0n;
    for (let i = rowBytes - 1; i >= 0; i--) stream = (stream << 8n) | BigInt(codes![row * rowBytes + i]!);
    for (let k = 0; k < K; k++) {
      const code = Number((stream >> BigInt(width * k)) & 7n);
      const group = (row * K + k - (k % GROUP)) / GROUP;
      values[row * K + k] = (code - 4) * halfFloat(scales![2 * group]! | (scales![2 * group + 1]! << 8));
    }
  }
  return values;
}

/** Three-bit codes lie densely: another decoder reads the weights that ours does, and a fourth bit a code would not. */
export const claim: Claim = {
  name: 'three-bit packing',
  async measure(gpu) {
    const format = formatByName(`int3-g${GROUP}`);
    const next = random(3);
    const weights = Float32Array.from({ length: ROWS * K }, () => 0.02 * gaussian(next));
    const host = await quantized(gpu, format, weights);
    const ours = format.reference.dequantize(host, ROWS, K);
    const differing = (values: Float32Array) => values.reduce((sum, w, i) => sum + (w === ours[i] ? 0 : 1), 0);
    const wrong = differing(decoded(host));
    const bits = (8 * host.codes!.length) / weights.length;
    const control = differing(decoded(host, 4));
    const results: Measurement[] = [
      {
        claim: 'int3-g64: weights that a decoder of the specification reads otherwise',
        threshold: '0',
        measured: `${wrong} of ${weights.length}`,
        pass: wrong === 0,
      },
      { claim: 'int3-g64: bits of a code', threshold: '3', measured: String(bits), pass: bits === 3 },
      {
        claim: 'int3-g64: control that must fail: codes read four bits apart',
        threshold: 'more than half of the weights differ',
        measured: `${control} of ${weights.length}`,
        pass: control > weights.length / 2,
      },
    ];
    return results;
  },
};
