import { decodeToF32 } from '../files/convert.ts';
import { ELEMENT_BYTES } from '../files/element-type.ts';
import type { TensorInfo } from '../files/safetensors-read.ts';
import { quote } from '../files/text.ts';
import type { Format } from '../formats/format.ts';
import type { PlannedTensor } from './plan.ts';

/** How many weights, or blocks of them, were too large for their format; by tensor. */
export type SaturatedCounts = Map<string, number>;

/** Magnitudes without a sign: bits of the largest finite value, and the least value that would round beyond it. */
const DENSE_LIMITS: Readonly<
  Record<string, { readonly largest: number; readonly beyond: number; readonly text: string }>
> = {
  f16: { largest: 0x7bff, beyond: 65520, text: '65504' },
  bf16: { largest: 0x7f7f, beyond: (2 - 2 ** -8) * 2 ** 127, text: '3.39e38' },
};

/** Of nvfp4: the largest scale, 448, which also stands for all from 248 on, and the weight that no code comes near even so. */
const NVFP4 = { scale: 0x7e, group: 16, beyond: 7 * 448 };

/**
 * How many weights of some rows, or with a block format how many blocks, hold a value that `target` cut off. Only what holds the
 * largest value there is can be such, so the source is looked at there alone.
 * @param source the dense rows, of `info`
 * @param arrays what they became, in the order of `target.arrays`
 */
export function countSaturated(
  target: Format,
  info: TensorInfo,
  source: Uint8Array,
  arrays: readonly Uint8Array[],
): number {
  const valuesAt = (start: number, count: number): Float32Array => {
    const bytes = ELEMENT_BYTES[info.type];
    return decodeToF32(source.subarray(start * bytes, (start + count) * bytes), info.type);
  };
  if (target.kind === 'dense') {
    const limit = DENSE_LIMITS[target.name];
    if (!limit) return 0;
    return countLargest(words(arrays[0]!), limit.largest, (i) => Math.abs(valuesAt(i, 1)[0]!) >= limit.beyond);
  }
  if (target.name === 'nvfp4') {
    const { scale, group, beyond } = NVFP4;
    return countLargest(arrays[1]!, scale, (i) => valuesAt(i * group, group).some((w) => Math.abs(w) > beyond));
  }
  return countBlocks(target, arrays);
}

/** The number of indices at which an array is `largest`, whatever its sign, and `isBeyond` agrees. A plain loop: this is all of a large file. */
function countLargest(array: Uint16Array | Uint8Array, largest: number, isBeyond: (index: number) => boolean): number {
  let count = 0;
  for (let i = 0; i < array.length; i++) if ((array[i]! & 0x7fff) === largest && isBeyond(i)) count++;
  return count;
}

/** The number of blocks of which a scale or minimum is the largest that f16 has. */
function countBlocks({ arrays: layout, block }: Format, arrays: readonly Uint8Array[]): number {
  const found = new Set<number>();
  for (const [i, { type, elementsPerRow }] of layout.entries()) {
    if (type !== 'F16') continue;
    const perBlock = elementsPerRow(block);
    countLargest(words(arrays[i]!), DENSE_LIMITS.f16!.largest, (at) => {
      found.add(Math.floor(at / perBlock));
      return true;
    });
  }
  return found.size;
}

function words(bytes: Uint8Array): Uint16Array {
  const { buffer, byteOffset, byteLength } = bytes.byteOffset % 2 === 0 ? bytes : bytes.slice();
  return new Uint16Array(buffer, byteOffset, byteLength / 2);
}

/** Tensors that a notice names. */
const MOST_NAMED = 8;

/** What to say about weights that were cut off. */
export function saturationNotices(tensors: readonly PlannedTensor[], counts: SaturatedCounts): string[] {
  const named = tensors.flatMap(({ name, target }) => {
    const count = counts.get(name) ?? 0;
    return target && count > 0 ? [`${quote(name)} (${target.name}: ${whatIn(target, count)})`] : [];
  });
  if (named.length === 0) return [];
  const more = named.length > MOST_NAMED ? ` and ${named.length - MOST_NAMED} more` : '';
  return [
    `Weights that are too large for their format were cut off in ${named.slice(0, MOST_NAMED).join(', ')}${more}. ` +
      'If they matter, leave these tensors as they are, by a rule with "format": "keep".',
  ];
}

function whatIn(target: Format, count: number): string {
  const limit = DENSE_LIMITS[target.name];
  if (limit) return `${count} ${count === 1 ? 'weight' : 'weights'} beyond ${limit.text}`;
  return `${count} ${count === 1 ? 'block' : 'blocks'} with the largest scale or minimum that there is`;
}
