import type { ElementType, Format } from '../../formats/format.ts';
import { groupOf } from '../../formats/layout.ts';
import type { StoredRole } from '../../kernels/refit.ts';

/** Where a format keeps the floats that scale and move its weights. */
export interface StoredScales {
  /** Weights of a row that share one. */
  readonly unit: number;
  /** 2 where offsets are floats of their own. */
  readonly parts: 1 | 2;
  readonly arrays: readonly {
    readonly index: number;
    readonly type: ElementType;
    readonly role: StoredRole;
    readonly perUnit: number;
  }[];
}

const ROLES: Readonly<Record<string, StoredRole>> = {
  scales: 'scale',
  steps: 'scale',
  minima: 'offset',
  zeros: 'zero',
};
const FLOATS: readonly ElementType[] = ['F32', 'F16', 'BF16'];

/** The scales and offsets of a format that are floats; undefined where its scales are codes themselves. */
export function storedScales(format: Format, k: number): StoredScales | undefined {
  const unit = groupOf(format, k);
  const arrays = format.arrays.flatMap(({ name, type, elementsPerRow }, index) => {
    const perUnit = (elementsPerRow(k) * unit) / k;
    // Two of them: d and dmin of ggml's K types.
    const role = name === 'steps' && perUnit === 2 ? 'scale and offset' : ROLES[name];
    return role && FLOATS.includes(type) ? [{ index, type, role, perUnit }] : [];
  });
  if (!arrays.some(({ role }) => role.startsWith('scale'))) return undefined;
  return { unit, parts: arrays.some(({ role }) => role !== 'scale') ? 2 : 1, arrays };
}
