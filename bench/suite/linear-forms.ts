// Ways to store a weight and to multiply with it, by the names that the linear suite's cases have.
import { ArgumentError } from '../../src/errors.ts';
import { blockLayout } from '../../src/formats/block-layout.ts';
import { blocksFormat } from '../../src/formats/blocks.ts';
import type { Format } from '../../src/formats/format.ts';
import { formatBytes } from '../../src/formats/layout.ts';
import { packedFormat } from '../../src/formats/packed.ts';
import { formatByName, formats } from '../../src/formats/registry.ts';
import type { Traffic } from './contestant.ts';

/** What is rounded besides the weight. */
export type Rounding = 'f16 sums' | 'int8 inputs';

/** How a weight [n, k] is stored, and how it is multiplied with. */
export interface LinearForm {
  readonly format: Format;
  /** Undefined: as decoders do, with sums in f32. */
  readonly rounding?: Rounding;
}

const PATTERNS = [
  { keep: 2, of: 4 },
  { keep: 2, of: 4, rows: 16 },
  { keep: 1, of: 4 },
] as const;
const VALUES = ['f16', 'q8_0', 'q4_0'] as const;
/** Of the blocks of a matrix so many are kept. */
const BLOCK = { rows: 32, columns: 32 } as const;
const KEPT = 1 / 4;
const BLOCKS = 'blocks-32x32-25%';

const patternName = ({ keep, of, rows }: { readonly keep: number; readonly of: number; readonly rows?: number }) =>
  `${keep}:${of}${rows === undefined ? '' : `x${rows}`}`;

/** Formats and what of their weights is kept, as their forms are named. */
export const SPARSE_FORMS = `${VALUES.join(', ')} @ ${[...PATTERNS.map(patternName), BLOCKS].join(', ')}`;

/** Forms beside plain formats: packed N:M patterns, blocks, and products that round more than the weight. */
const SPARSE = VALUES.flatMap((values) => [...PATTERNS.map(patternName), BLOCKS].map((kept) => `${values}@${kept}`));
const HALF_SUMS = ['f16', 'q8_0', 'q4_0', 'q4_k'].map((format) => `${format}, f16 sums`);
const INTEGER_INPUTS = ['q8_0', 'q4_0', 'int4-g32', 'int4-g64'].map((format) => `${format}, int8 inputs`);

/** All there are, whatever the device can; those of static activations need a calibration. */
export const ALL_FORMS: readonly string[] = [
  ...formats.filter(({ activations }) => activations !== 'static').map(({ name }) => name),
  ...SPARSE,
  ...HALF_SUMS,
  ...INTEGER_INPUTS,
];

/** @throws ArgumentError, FormatError where there is no such form */
export function linearForm(name: string, n: number, k: number): LinearForm {
  const [stored, rounding] = name.split(', ') as [string, Rounding | undefined];
  const [values, kept] = stored.split('@') as [string, string | undefined];
  const format = formatByName(values);
  const how = rounding ? { rounding } : {};
  if (kept === undefined) return { format, ...how };
  if (kept === BLOCKS) {
    const { down, across } = blockLayout(BLOCK, format, n, k);
    return { format: blocksFormat(format, { block: BLOCK, rows: n, k, kept: Math.ceil(down * across * KEPT) }) };
  }
  const pattern = PATTERNS.find((one) => patternName(one) === kept);
  if (!pattern) throw new ArgumentError(`There is no form "${name}" of a product.`);
  return { format: packedFormat(format, { kind: 'n:m', ...pattern }) };
}

/** Weights that are stored, of n rows of k. */
function storedOf({ packed, blocks }: Format, n: number, k: number): number {
  if (blocks) return blocks.kept * blocks.layout.slots;
  return n * (packed ? packed.layout(n, k).slots : k);
}

/** What a product has to read, write and compute: weights that are not stored cost nothing. */
export function linearTraffic({ format, rounding }: LinearForm, n: number, k: number, batch: number): Traffic {
  const arithmetic = format.activations || rounding === 'int8 inputs' ? 'i8' : rounding === 'f16 sums' ? 'f16' : 'f32';
  return {
    bytes: formatBytes(format, n, k) + 4 * batch * (n + k),
    operations: 2 * storedOf(format, n, k) * batch,
    ...(arithmetic !== 'f32' && { arithmetic }),
  };
}
