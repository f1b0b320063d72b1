import { DYNAMIC_MAP, dynamicCode } from './dynamic-map.ts';
import type { FormatArray } from './format.ts';

const f = Math.fround;

/** Scales that share a nested one. */
export const NESTED = 256;
/** Scales larger than this count as it: what they become stays finite. */
const LARGEST = 2 ** 127;
const SMALLEST_NORMAL = 2 ** -126;

/** For each block of 256 scales of the whole matrix the largest distance of one from their mean, and that mean, which is the same in all. */
export const nestedArray = (group: number): FormatArray => ({
  name: 'nested',
  type: 'F32',
  elementsPerRow: (k) => (2 * k) / (group * NESTED),
  span: group * NESTED,
});

/** Sums 256 numbers, halves together, as a workgroup does. */
function treeSum(values: Float32Array): number {
  const sums = values.slice();
  for (let width = sums.length / 2; width >= 1; width /= 2) {
    for (let i = 0; i < width; i++) sums[i] = sums[i]! + sums[i + width]!;
  }
  return sums[0]!;
}

/** The power of two that no sum of so many scales exceeds after division by it. */
const shiftOf = (count: number): number => Math.ceil(Math.log2(count));

/**
 * The mean of all scales, in f32: blocks of 256 are summed as trees; then 256 threads each sum every 256th block, and a tree joins them. Sums are
 * of scales divided by a power of two, so that none overflows; what falls below the normal range counts as zero.
 */
function meanOf(scales: Float32Array): number {
  const down = 2 ** -shiftOf(scales.length);
  const threads = new Float32Array(NESTED);
  for (let first = 0; first < scales.length; first += NESTED) {
    const block = new Float32Array(NESTED);
    block.set(scales.subarray(first, first + NESTED).map((x) => (x * down < SMALLEST_NORMAL ? 0 : x * down)));
    const thread = (first / NESTED) % NESTED;
    threads[thread] = threads[thread]! + treeSum(block);
  }
  const mean = f(treeSum(threads) / f(scales.length * down));
  return mean < SMALLEST_NORMAL ? 0 : mean;
}

/**
 * Double quantization, as bitsandbytes has it (`quantize_4bit` with `compress_statistics`): the mean of all scales is taken off, and what is left is quantized in
 * blocks of 256 to the signed dynamic map, under the largest magnitude of each.
 * Source: Dettmers, Pagnoni, Holtzman, Zettlemoyer, "QLoRA: Efficient Finetuning of Quantized LLMs", 2023, section 3.
 * @param scales of a whole matrix, in the order of its weights: finite, not negative
 */
export function doubleQuantize(scales: Float32Array): { readonly codes: Uint8Array; readonly nested: Float32Array } {
  const bounded = scales.map((x) => Math.min(x, LARGEST));
  const offset = meanOf(bounded);
  const codes = new Uint8Array(scales.length);
  const nested = new Float32Array(2 * Math.ceil(scales.length / NESTED));
  for (let first = 0; first < scales.length; first += NESTED) {
    const block = bounded.subarray(first, first + NESTED).map((x) => {
      const distance = f(x - offset);
      return Math.abs(distance) < SMALLEST_NORMAL ? 0 : distance;
    });
    const largest = block.reduce((m, x) => Math.max(m, Math.abs(x)), 0);
    // Divided by a power of two where 1 / largest would leave the normal range.
    const unit = largest < 2 ** 64 ? 1 : 2 ** -64;
    const inverse = largest === 0 ? 0 : f(1 / (largest * unit));
    for (const [i, x] of block.entries()) codes[first + i] = dynamicCode(f(x * unit * inverse));
    nested[(2 * first) / NESTED] = largest;
    nested[(2 * first) / NESTED + 1] = offset;
  }
  return { codes, nested };
}

/** The scale that a code stands for: two operations, each rounded to f32. */
export const nestedScale = (code: number, nested: number, offset: number): number =>
  f(f(DYNAMIC_MAP[code]! * nested) + offset);

/**
 * The scales of a run of groups.
 * @param codes theirs
 * @param nested of the blocks that they are in, from the first on
 * @param phase of the first group in its block
 */
export function expandScales(codes: Uint8Array, nested: Float32Array, phase = 0): Float32Array {
  return Float32Array.from(codes, (code, i) => {
    const block = Math.floor((phase + i) / NESTED);
    return nestedScale(code, nested[2 * block]!, nested[2 * block + 1]!);
  });
}
