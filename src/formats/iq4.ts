import nlShader from '../../shaders/formats/iq4_nl.wgsl';
import xsShader from '../../shaders/formats/iq4_xs.wgsl';
import { ggmlNibbles } from './block-codec.ts';
import { readNibble, writeNibble } from './codes.ts';
import type { FormatArray } from './format.ts';
import { readStep, writeStep } from './ggml-step.ts';
import { readU16, writeU16 } from './layout.ts';
import { clamp, roundHalfEven } from './rounding.ts';
import { CLEARLY, divide, type Gains, gainsOf, normalize, searchSigned, squaredError } from './scale-search.ts';
import { inBlock, superBlockFormat } from './super-blocks.ts';

/**
 * ggml's iq4 types: codes of four bits stand for sixteen levels that lie closer around zero (`kvalues_iq4nl` in `ggml-common.h`).
 * Scales are searched for: each end of the levels is tried for the largest weight, moved by some units either way; of the codes that
 * this gives the scale follows by least squares.
 */

const f = Math.fround;

const LEVELS = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
/** Halfway between one level and the next. A weight there takes the lower one. */
const MIDDLES = LEVELS.slice(1).map((level, i) => (LEVELS[i]! + level) / 2);

/** Weights that share a scale. */
const GROUP = 32;
/** The levels of the largest weight, and the steps by which each is moved. */
const ENDS = [LEVELS.at(0)!, LEVELS.at(-1)!];
const TRIALS = 7;
const STEP = 3;

/** The code of the level nearest to a real number. */
const nearestCode = (x: number): number => MIDDLES.filter((middle) => x > middle).length;
const nearestLevel = (x: number): number => LEVELS[nearestCode(x)]!;

/** The scale of the least squared error that the search finds. */
const searchScale = (weights: Float32Array, gains?: Gains): number =>
  searchSigned(weights, nearestLevel, ENDS, TRIALS, STEP, { gains });

/** Codes under a scale. */
function codesUnder(weights: Float32Array, scale: number): number[] {
  const inverse = Math.abs(scale) < 2 ** -126 ? 0 : f(1 / scale);
  return Array.from(weights, (w) => nearestCode(f(w * inverse)));
}

const grid = { group: GROUP, levels: LEVELS };

/** 4.5 bits a weight: w = scale · level. */
export const iq4_nl = superBlockFormat({
  name: 'iq4_nl',
  shader: nlShader,
  block: GROUP,
  arrays: [
    { name: 'codes', type: 'U8', elementsPerRow: (k) => k / 2 },
    { name: 'scales', type: 'F16', elementsPerRow: (k) => k / GROUP },
  ],
  order: ['scales', 'codes'],
  reorders: { codes: ggmlNibbles(GROUP) },
  grid,
  quantize(weights, block, importance) {
    const { values, unit } = normalize(weights);
    const found = searchScale(values, gainsOf(importance));
    const scale = f(writeStep(block.scales!, 0, f(found * unit)) / unit);
    for (const [i, code] of codesUnder(values, scale).entries()) writeNibble(block.codes!, i, code);
  },
  value: (block, i) => readStep(block.scales!, 0) * LEVELS[readNibble(block.codes!, i)]!,
});

/** Multiples of d are −REACH … REACH − 1. */
const REACH = 32;

const scales: FormatArray = inBlock('scales', 'U8', 4);
const high: FormatArray = inBlock('highScales', 'U8', 2);

/** Four bits of each multiple are nibbles, the first in the low one; two more are pairs of a half word. */
function writeMultiple(block: Readonly<Record<string, Uint8Array>>, j: number, multiple: number): void {
  const code = multiple + REACH;
  block.scales![j >> 1]! |= (code & 15) << (4 * (j & 1));
  writeU16(block.highScales!, 0, readU16(block.highScales!, 0) | ((code >> 4) << (2 * j)));
}

function readMultiple(block: Readonly<Record<string, Uint8Array>>, j: number): number {
  const low = (block.scales![j >> 1]! >> (4 * (j & 1))) & 15;
  return (low | (((readU16(block.highScales!, 0) >> (2 * j)) & 3) << 4)) - REACH;
}

/** 4.25 bits a weight: w = d · multiple · level, eight multiples of six bits to a super-block. */
export const iq4_xs = superBlockFormat({
  name: 'iq4_xs',
  shader: xsShader,
  arrays: [inBlock('codes', 'U8', 128), inBlock('steps', 'F16', 1), scales, high],
  order: ['steps', 'highScales', 'scales', 'codes'],
  reorders: { codes: ggmlNibbles(GROUP) },
  grid,
  quantize(weights, block, importance) {
    const { values, unit } = normalize(weights);
    const parts = Array.from({ length: 8 }, (_, j) => values.subarray(j * GROUP, (j + 1) * GROUP));
    const gains = parts.map((_, j) => gainsOf(importance?.subarray(j * GROUP, (j + 1) * GROUP)));
    const found = parts.map((part, j) => searchScale(part, gains[j]));
    const largest = found.reduce((m, s) => (Math.abs(s) > Math.abs(m) ? s : m), 0);
    const d = f(writeStep(block.steps!, 0, f(divide(largest, -REACH) * unit)) / unit);
    for (const [j, part] of parts.entries()) {
      const middle = Math.abs(d) < 2 ** -126 ? 0 : clamp(roundHalfEven(divide(found[j]!, d)), -REACH, REACH - 1);
      let best = { multiple: 0, codes: [] as number[], error: Number.POSITIVE_INFINITY };
      // The rounded multiple first, then its neighbours.
      for (const moved of [0, 1, -1]) {
        const multiple = clamp(middle + moved, -REACH, REACH - 1);
        const scale = f(d * multiple);
        const codes = codesUnder(part, scale);
        const error = squaredError(part, (i) => f(scale * LEVELS[codes[i]!]!), gains[j]);
        if (error < f(best.error * CLEARLY)) best = { multiple, codes, error };
      }
      writeMultiple(block, j, best.multiple);
      for (const [i, code] of best.codes.entries()) writeNibble(block.codes!, j * GROUP + i, code);
    }
  },
  value: (block, i) => readStep(block.steps!, 0) * readMultiple(block, i >> 5) * LEVELS[readNibble(block.codes!, i)]!,
});
