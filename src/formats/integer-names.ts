import type { ScaleType } from './scale-type.ts';

/** Widths of codes. */
export const INTEGER_BITS = [8, 4, 3, 2] as const;
/** Weights of a row that may share a scale; `row`: all of them. */
export const INTEGER_GROUPS = [16, 32, 64, 128, 256, 'row'] as const;
/** What stands for zero: the middle code, a code of the group's own, or a number of the scale's type. */
export const INTEGER_ZEROS = ['middle', 'code', 'float'] as const;

/** What tells one format of integer groups from another. */
export interface IntegerParameters {
  readonly bits: (typeof INTEGER_BITS)[number];
  readonly group: (typeof INTEGER_GROUPS)[number];
  readonly zero: (typeof INTEGER_ZEROS)[number];
  readonly scale: ScaleType;
}

const ZERO_SUFFIX = { middle: '', code: '-asym', float: '-fzp' } as const;
const SCALE_SUFFIX = { f16: '', f32: '-f32', bf16: '-bf16' } as const;

/** The grammar of `integerName`, for messages. */
export const INTEGER_GRAMMAR =
  'int<8, 4, 3 or 2>-g<16, 32, 64, 128 or 256>, or -row for a scale a row; then -asym or -fzp for zero points that are integers or ' +
  'floats; then -f32 or -bf16 for scales other than f16';

/** The name of a format of integer groups: `int4-g64-asym`, `int3-row`, `int2-g16-fzp-bf16`. */
export const integerName = ({ bits, group, zero, scale }: IntegerParameters): string =>
  `int${bits}-${group === 'row' ? 'row' : `g${group}`}${ZERO_SUFFIX[zero]}${SCALE_SUFFIX[scale]}`;

/** All of them. */
export const integerParameters: readonly IntegerParameters[] = INTEGER_BITS.flatMap((bits) =>
  INTEGER_ZEROS.flatMap((zero) =>
    (['f16', 'f32', 'bf16'] as const).flatMap((scale) => INTEGER_GROUPS.map((group) => ({ bits, group, zero, scale }))),
  ),
);

const byName = new Map(integerParameters.map((parameters) => [integerName(parameters), parameters]));

/** What a name stands for; undefined where it names no format of integer groups. */
export const parseIntegerName = (name: string): IntegerParameters | undefined => byName.get(name);
