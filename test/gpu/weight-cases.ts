import { f16BitsToF32 } from '../../src/formats/float16.ts';
import { SHAPES } from './formats-under-test.ts';

/** A matrix to quantize. */
export interface Case {
  readonly rows: number;
  readonly k: number;
  readonly weights: Float32Array;
}

/** Small, fast, seeded: the numbers of a case depend on nothing else. */
export function generator(seed: number): () => number {
  let state = (seed * 2654435761) >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

export const gaussian = (next: () => number) => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());

/** Kinds of weights, from ordinary ones to those made to sit on every edge of the rules. */
const DISTRIBUTIONS: readonly ((next: () => number) => () => number)[] = [
  (next) => () => gaussian(next) * 0.05,
  (next) => {
    const scale = 2 ** (next() * 60 - 30);
    return () => gaussian(next) * scale;
  },
  // f16 values: equal magnitudes of both signs, exact ties.
  (next) => () => f16BitsToF32(Math.floor(next() * 0x10000) & 0xbfff),
  // Multiples of a half step.
  (next) => {
    const step = 2 ** Math.floor(next() * 20 - 10) * (1 + Math.floor(next() * 8) / 8);
    return () => (Math.floor(next() * 33) - 16) * step * 0.5;
  },
  (next) => {
    const step = 2 ** Math.floor(next() * 8 - 4);
    return () => (Math.floor(next() * 511) - 255) * step * 0.5;
  },
  // Scales that f16 holds, or halfway between two that it holds; weights on the ties between codes, or one or two f32
  // steps beside them.
  (next) => {
    const scale = (2048 + Math.floor(next() * 2048)) * 2 ** -Math.floor(11 + next() * 12) * (next() < 0.5 ? 1 : -1);
    const extreme = [8, 15, 16, 31, 127, 128, 255][Math.floor(next() * 7)]! * scale;
    const lowest = next() < 0.5 ? 0 : -8;
    return () => (next() < 0.1 ? extreme : stepped((lowest + Math.floor(next() * 16) + 0.5) * scale, next));
  },
  // The same above a minimum.
  (next) => {
    const scale = (2048 + Math.floor(next() * 2048)) * 2 ** -Math.floor(11 + next() * 12);
    const minimum = (Math.floor(next() * 64) - 32) * scale;
    const levels = next() < 0.5 ? 15 : 31;
    return () => {
      const kind = next();
      if (kind < 0.2) return minimum + (kind < 0.1 ? levels * scale : 0);
      return Math.max(minimum, stepped(minimum + (Math.floor(next() * levels) + 0.5) * scale, next));
    };
  },
  // A narrow range far from zero, up to minima that f16 can't hold.
  (next) => {
    const base = [1, 65504, 65520, 2 ** 17, 2 ** 100, 3e38][Math.floor(next() * 6)]! * (next() < 0.5 ? 1 : -1);
    const width = 2 ** -Math.floor(next() * 23);
    return () => Math.fround(base * (1 + (next() - 0.5) * width * 0.25));
  },
  // Zeros of both signs are the smallest.
  (next) => () => (next() < 0.3 ? 0 : next() < 0.5 ? -0 : Math.abs(gaussian(next))),
  (next) => () => (next() < 0.5 ? 0 : -0),
  // One outlier among small weights.
  (next) => () => gaussian(next) * (next() < 0.02 ? 100 : 0.01),
  (next) => () => (next() < 0.9 ? 0 : -gaussian(next)),
  (next) => () => -Math.abs(gaussian(next)),
  (next) => {
    const constant = gaussian(next);
    return () => constant;
  },
  () => () => 0,
  () => () => -0,
  // Any finite bits: subnormals, huge values, all exponents in one block.
  (next) => () => anyFinite(next),
  // All around one exponent, from far below f32's normal range to the top.
  (next) => {
    const exponent = Math.floor(next() * 275) - 149;
    return () => Math.fround((next() * 2 - 1) * 2 ** exponent);
  },
  // Around the ends of what an f16 scale can hold.
  (next) => {
    const edges = [2 ** -25, 2 ** -24, 2 ** -14, 65504, 65520];
    const edge = edges[Math.floor(next() * edges.length)]! * [8, 15, 127, 128, 255][Math.floor(next() * 5)]!;
    return () => Math.fround(edge * (next() < 0.5 ? 1 : -1) * (1 + (next() - 0.5) * 2 ** -(next() * 24)));
  },
];

const word = new Uint32Array(1);
const float = new Float32Array(word.buffer);
export function anyFinite(next: () => number): number {
  word[0] = Math.floor(next() * 2 ** 32);
  return Number.isFinite(float[0]) ? float[0]! : 0;
}

/** `x` moved by up to two f32 steps. */
function stepped(x: number, next: () => number): number {
  float[0] = x;
  word[0] = word[0]! + Math.floor(next() * 5) - 2;
  return float[0]!;
}

/** Random shapes with rows of whole blocks; each row draws from a distribution of its own. */
export function cases(block: number, seed: number, odd = false, shapes = SHAPES): Case[] {
  const next = generator(seed);
  return Array.from({ length: shapes }, () => {
    // As many weights of every format: super-blocks are few.
    const rows = 1 + Math.floor(next() ** 3 * (block < 256 ? 40 : 10));
    const k = odd ? 1 + Math.floor(next() * 200) : block * (1 + Math.floor(next() ** 2 * (block < 256 ? 8 : 4)));
    const weights = new Float32Array(rows * k);
    for (let row = 0; row < rows; row++) {
      const draw = DISTRIBUTIONS[Math.floor(next() * DISTRIBUTIONS.length)]!(next);
      for (let i = 0; i < k; i++) weights[row * k + i] = draw();
    }
    return { rows, k, weights };
  });
}
