import type { ElementType, Format } from '../../formats/format.ts';

/** Where a format keeps the floats that scale its weights. */
export interface StoredScales {
  /** Weights of a row that share one. */
  readonly unit: number;
  readonly arrays: readonly { readonly index: number; readonly type: ElementType; readonly perUnit: number }[];
}

/** What is multiplied for all weights of a unit to be multiplied. */
const NAMES = ['scales', 'steps', 'minima'];
const FLOATS: readonly ElementType[] = ['F32', 'F16', 'BF16'];

/** The scales of a format that are floats of their own; undefined where they are codes themselves. */
export function storedScales({ arrays }: Format, k: number): StoredScales | undefined {
  const found = arrays.flatMap(({ name, type, elementsPerRow }, index) =>
    NAMES.includes(name) && FLOATS.includes(type) ? [{ index, type, count: elementsPerRow(k) }] : [],
  );
  if (found.length === 0) return undefined;
  const units = Math.min(...found.map(({ count }) => count));
  return {
    unit: k / units,
    arrays: found.map(({ index, type, count }) => ({ index, type, perUnit: count / units })),
  };
}
