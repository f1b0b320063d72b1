import { type Format, formatByName, type Gpu } from 'compressa';
import type { Claim, Measurement } from '../claim.ts';
import { differing, quantizedBlocks, valuesOfBlocks } from '../ggml-blocks.ts';
import { type Ggml, type GgmlType, openGgml } from '../peers/ggml.ts';
import { gaussian, random } from '../random.ts';

const ROWS = 64;
const K = 2048;

/** Formats in which ggml gives the same bytes however it is built, and those in which fused multiply-adds change some. */
const EXACT: readonly GgmlType[] = ['q8_0', 'q4_1', 'q5_1', 'tq1_0', 'tq2_0', 'mxfp4', 'nvfp4'];
const NEARLY: readonly GgmlType[] = ['q4_0', 'q5_0'];

/** Multiples of d that the codes of a format reach: from its smallest value to its largest. */
const REACH: Readonly<Partial<Record<GgmlType, readonly [number, number]>>> = {
  q8_0: [-127, 127],
  q4_0: [-8, 7],
  q5_0: [-16, 15],
  q4_1: [-1, 14],
  q5_1: [-1, 30],
  tq1_0: [-1, 1],
  tq2_0: [-1, 1],
  mxfp4: [-6, 6],
  nvfp4: [-6, 6],
};

const blockOf = (type: GgmlType): number => formatByName(type).block;
const blocksOf = (type: GgmlType): number => (ROWS * K) / blockOf(type);

/** Where a block of ggml has its f16 scales, in bytes; the types that are not here have other scales, in front. */
const HALVES: Readonly<Partial<Record<GgmlType, readonly number[]>>> = {
  q8_0: [0],
  q4_0: [0],
  q5_0: [0],
  q4_1: [0, 2],
  q5_1: [0, 2],
  tq1_0: [52],
  tq2_0: [64],
};

type Random = () => number;

/** For each kind of block: what draws the weights of the next one. */
const KINDS: Readonly<Record<string, (next: Random, type: GgmlType) => () => number>> = {
  Gaussian: (next) => () => 0.05 * gaussian(next),
  'heavy-tailed': (next) => () => (0.02 * gaussian(next)) / Math.max(1e-3, Math.abs(gaussian(next))),
  constant: (next) => {
    const value = gaussian(next);
    return () => value;
  },
  zero: (next) => {
    const negative = next() < 0.5;
    return () => (negative && next() < 0.5 ? -0 : 0);
  },
  // As large as d and m in f16 can be; some weights are small enough that no minimum is larger.
  huge: (next, type) => {
    const [low, high] = REACH[type]!.map((steps) => steps * 65000) as [number, number];
    return () => (next() < 0.5 ? 65000 * (2 * next() - 1) : low + next() * (high - low));
  },
  // Few magnitudes, both signs: many weights share the extremes.
  tied: (next) => {
    const unit = gaussian(next);
    return () => Math.floor(next() * 5 - 2) * unit;
  },
  // Multiples of half a step, every extreme there: all codes are decided by the rounding of halves.
  'half-step': (next, type) => {
    const step = 2 ** Math.floor(next() * 16 - 12);
    const [low, high] = REACH[type]!;
    return () => {
      const kind = next();
      if (kind < 0.1) return (kind < 0.05 ? low : high) * step;
      return Math.floor((low + next() * (high - low)) * 2) * 0.5 * step;
    };
  },
  sparse: (next) => () => (next() < 0.9 ? 0 : gaussian(next)),
  'single outlier': (next, type) => {
    let left = Math.floor(next() * blockOf(type));
    return () => (left-- === 0 ? 100 : 0.01) * gaussian(next);
  },
};

/** Here ggml's codes mean nothing, since d in f16 is zero, and ours are zero: only the values are compared. */
const DENORMAL = (next: Random) => {
  const unit = 2 ** -Math.floor(126 + next() * 23);
  return () => unit * (2 * next() - 1);
};

/** Here ggml's d or m is infinite, and ours the largest that there is: no bytes to compare. */
const OVERFLOWING = (next: Random) => {
  const largest = 2 ** (20 + next() * 107.9);
  return () => largest * (2 * next() - 1);
};

function weightsOf(kind: (next: Random, type: GgmlType) => () => number, type: GgmlType, seed: number): Float32Array {
  const next = random(seed);
  const weights = new Float32Array(ROWS * K);
  const block = blockOf(type);
  for (let first = 0; first < weights.length; first += block) {
    const draw = kind(next, type);
    for (let i = 0; i < block; i++) weights[first + i] = draw();
  }
  return weights;
}

/** How many of the blocks are the same bytes. */
function identicalBlocks(a: Uint8Array, b: Uint8Array, count: number): number {
  const size = b.length / count;
  let same = 0;
  for (let at = 0; at < b.length; at += size) {
    if (b.subarray(at, at + size).every((byte, i) => a[at + i] === byte)) same++;
  }
  return same;
}

const squaredError = (values: Float32Array, weights: Float32Array) =>
  weights.reduce((sum, w, i) => sum + (values[i]! - w) ** 2, 0);

/** The same blocks with d moved by some steps of its type: what a wrong rounding of the scale would look like, or a wrong scale. */
function nudged(type: GgmlType, blocks: Uint8Array, by: number): Uint8Array {
  const moved = blocks.slice();
  const view = new DataView(moved.buffer);
  const half = HALVES[type]?.[0];
  for (let at = 0; at < moved.length; at += moved.length / blocksOf(type)) {
    if (half === undefined) view.setUint8(at, view.getUint8(at) + 1);
    else view.setUint16(at + half, view.getUint16(at + half, true) + by, true);
  }
  return moved;
}

/** Random codes under scales and minima of every finite kind: what a file may hold. */
function anyBlocks(format: Format, type: GgmlType, seed: number): Uint8Array {
  const next = random(seed);
  const bytes = Uint8Array.from({ length: ROWS * format.codecs.ggml!.bytesPerRow(K) }, () => next() * 256);
  const view = new DataView(bytes.buffer);
  for (let at = 0; at < bytes.length; at += bytes.length / blocksOf(type)) {
    // The exponent of all ones means infinity or NaN.
    for (const half of HALVES[type] ?? []) {
      view.setUint16(at + half, view.getUint16(at + half, true) & 0xbfff, true);
    }
    // Powers of two whose products neither overflow nor are subnormal.
    if (type === 'mxfp4') bytes[at] = 3 + Math.floor(next() * 248);
  }
  return bytes;
}

interface Compared {
  readonly blocks: number;
  readonly identical: number;
  /** Squared error of ours and of ggml's, kind by kind. */
  readonly errors: readonly { readonly kind: string; readonly ours: number; readonly ggml: number }[];
}

async function compared(ggml: Ggml, type: GgmlType, quantize: (weights: Float32Array) => Promise<Uint8Array>) {
  let identical = 0;
  const errors: { kind: string; ours: number; ggml: number }[] = [];
  for (const [seed, [kind, draw]] of Object.entries(KINDS).entries()) {
    const weights = weightsOf(draw, type, seed + 1);
    const ours = await quantize(weights);
    const theirs = ggml.quantize(type, weights, ROWS, K);
    identical += identicalBlocks(ours, theirs, blocksOf(type));
    const error = (blocks: Uint8Array) => squaredError(ggml.dequantize(type, blocks, ROWS * K), weights);
    errors.push({ kind, ours: error(ours), ggml: error(theirs) });
  }
  return { blocks: blocksOf(type) * errors.length, identical, errors } satisfies Compared;
}

const percent = ({ identical, blocks }: Compared) => `${identical} of ${blocks} blocks`;

/** The largest ratio of our squared error to ggml's over the kinds; 1 where both are zero. */
const worst = ({ errors }: Compared) =>
  errors
    .map(({ kind, ours, ggml }) => ({ kind, ratio: ours === ggml ? 1 : ours / ggml }))
    .reduce((a, b) => (b.ratio > a.ratio ? b : a));

const bytesPass = (found: Compared, exact: boolean) => found.identical >= found.blocks * (exact ? 1 : 0.999);
const errorPass = (found: Compared) => found.errors.every(({ ours, ggml }) => ours <= ggml);

/** Weights so small or so large that the f16 scale of a block is zero or infinite. */
async function extremes(gpu: Gpu, ggml: Ggml, format: Format, type: GgmlType): Promise<Measurement[]> {
  const tiny = weightsOf(DENORMAL, type, 99);
  const values = ggml.dequantize(type, await quantizedBlocks(gpu, format, tiny, ROWS, K), ROWS * K);
  const unequal = differing(values, ggml.dequantize(type, ggml.quantize(type, tiny, ROWS, K), ROWS * K));
  const large = weightsOf(OVERFLOWING, type, 100);
  const infinite = (bytes: Uint8Array) =>
    ggml.dequantize(type, bytes, ROWS * K).reduce((sum, value) => sum + (Number.isFinite(value) ? 0 : 1), 0);
  const [ours, theirs] = [
    infinite(await quantizedBlocks(gpu, format, large, ROWS, K)),
    infinite(ggml.quantize(type, large, ROWS, K)),
  ];
  return [
    {
      claim: `${type}: values of denormal blocks that differ from ggml’s`,
      threshold: '0',
      measured: `${unequal} of ${tiny.length}`,
      pass: unequal === 0,
    },
    {
      claim: `${type}: values that are not finite where a scale exceeds f16`,
      threshold: '0, and some of ggml’s',
      measured: `${ours} of ${large.length}, of ggml’s ${theirs}`,
      pass: ours === 0 && theirs > 0,
    },
  ];
}

/**
 * Quantizing gives ggml's bytes where ggml itself always gives the same, and no larger error elsewhere; decoding is exact.
 * ggml is called in llama.cpp's own library.
 */
export const claim: Claim = {
  name: 'ggml bytes',
  async measure(gpu, takes) {
    const ggml = openGgml();
    if (typeof ggml === 'string') {
      return [{ claim: 'blocks equal ggml’s', threshold: 'ggml to compare with', measured: ggml, pass: false }];
    }
    const results: Measurement[] = [];
    for (const type of [...EXACT, ...NEARLY].filter(takes)) {
      const exact = EXACT.includes(type);
      const format = formatByName(type);
      const found = await compared(ggml, type, (weights) => quantizedBlocks(gpu, format, weights, ROWS, K));
      results.push({
        claim: `${type}: bytes of ${Object.keys(KINDS).join(', ')} blocks equal ggml’s`,
        threshold: exact ? 'all' : '99.9%',
        measured: percent(found),
        pass: bytesPass(found, exact),
      });
      const largest = worst(found);
      results.push({
        claim: `${type}: squared error over ggml’s, the worst kind of block`,
        threshold: 'at most 1',
        measured: `${largest.ratio} (${largest.kind})`,
        pass: errorPass(found),
      });

      // Scales that are powers of two, or bounded by their type, neither vanish nor overflow in ggml; its mxfp4 wraps around instead.
      if (HALVES[type]) results.push(...(await extremes(gpu, ggml, format, type)));

      const blocks = anyBlocks(format, type, 7);
      const expected = ggml.dequantize(type, blocks, ROWS * K);
      const wrong = differing(await valuesOfBlocks(gpu, format, blocks, ROWS, K), expected);
      results.push({
        claim: `${type}: decoded values of random blocks that differ from ggml’s`,
        threshold: '0',
        measured: `${wrong} of ${expected.length}`,
        pass: wrong === 0 && ggml.rowBytes(type, K) === format.codecs.ggml!.bytesPerRow(K),
      });

      // Controls: each measure has to see what it is there to see.
      const step = await compared(ggml, type, async (weights) =>
        nudged(type, ggml.quantize(type, weights, ROWS, K), 1),
      );
      const scale = await compared(ggml, type, async (weights) =>
        nudged(type, ggml.quantize(type, weights, ROWS, K), 32),
      );
      const decoded = differing(await valuesOfBlocks(gpu, format, nudged(type, blocks, 1), ROWS, K), expected);
      results.push({
        claim: `${type}: control that must fail: d one f16 step larger, d 3% larger`,
        threshold: 'bytes, decoding and squared error refused',
        measured: `${percent(step)}, ${decoded} values differ, squared error over ggml’s ${worst(scale).ratio.toPrecision(3)}`,
        pass: !bytesPass(step, exact) && decoded > 0 && !errorPass(scale),
      });
    }
    return results;
  },
};
