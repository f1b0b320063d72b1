import { FormatError } from '../errors.ts';
import { suggest } from '../suggest.ts';
import { bf16, f16, f32 } from './dense.ts';
import { mxfp4, nvfp4 } from './float4.ts';
import type { Format } from './format.ts';
import { FLOAT8_GRAMMAR, float8Groups, parseFloat8Name } from './fp8.ts';
import { q4_0, q4_1, q5_0, q5_1, q8_0 } from './ggml.ts';
import { integerGroups } from './integer-groups.ts';
import { INTEGER_GRAMMAR, parseIntegerName } from './integer-names.ts';
import { iq4_nl, iq4_xs } from './iq4.ts';
import { q2_k, q3_k, q4_k, q5_k, q6_k } from './k-quants.ts';
import { nf4, nf4Single } from './nf4.ts';
import { tq1_0, tq2_0 } from './ternary.ts';
import { w8a8, w8a8Static } from './w8a8.ts';

export { checkRow } from './checks.ts';

/** Integer groups that are listed, out of all that there are: each width, group, kind of zero point and type of scale in some. */
const LISTED = [
  'int8-g32',
  'int8-g64',
  'int8-g128',
  'int8-row',
  'int8-g32-asym',
  'int8-g64-asym',
  'int8-g128-asym',
  'int8-g64-fzp-f32',
  'int4-g32',
  'int4-g64',
  'int4-g128',
  'int4-g32-asym',
  'int4-g64-asym',
  'int4-g128-asym',
  'int4-g64-fzp',
  'int4-g256-fzp-bf16',
  'int3-g16-f32',
  'int3-g64',
  'int3-g32-asym',
  'int3-g64-asym',
  'int3-row-asym-bf16',
  'int3-g64-fzp',
  'int2-g64',
  'int2-g16-asym',
  'int2-g64-asym',
  'int2-g64-fzp',
];

/** The same of FP8. */
const LISTED_FLOAT8 = ['e4m3-g128', 'e4m3-g32-bf16', 'e4m3-row', 'e5m2-g128', 'e5m2-g64-bf16'];

const made = new Map<string, Format>();
/** The format of integer groups or FP8 that has this name, the same object each time. */
function groupsNamed(name: string): Format | undefined {
  const known = made.get(name);
  if (known) return known;
  const [integer, float8] = [parseIntegerName(name), parseFloat8Name(name)];
  const format = integer ? integerGroups(integer) : float8 && float8Groups(float8);
  if (format) made.set(name, format);
  return format;
}

/**
 * The formats that tests, benches, the command line's help and the demo walk. `formatByName` knows more: integer groups and FP8 of every
 * width, group, zero point and type of scale.
 */
export const formats: readonly Format[] = [
  f32,
  f16,
  bf16,
  q8_0,
  q5_1,
  q5_0,
  q4_0,
  q4_1,
  q6_k,
  q5_k,
  q4_k,
  q3_k,
  q2_k,
  iq4_nl,
  iq4_xs,
  nvfp4,
  mxfp4,
  tq2_0,
  tq1_0,
  nf4,
  nf4Single,
  w8a8,
  w8a8Static,
  ...[...LISTED, ...LISTED_FLOAT8].map((name) => groupsNamed(name)!),
];

/** Short names, with the format that each stands for. */
export const formatAliases: Readonly<Record<string, string>> = Object.fromEntries(
  ['', '-asym'].flatMap((kind) => [8, 4, 3, 2].map((bits) => [`int${bits}${kind}`, `int${bits}-g32${kind}`])),
);

const listed = new Map(formats.map((format) => [format.name, format]));

/** The format with exactly this name; undefined where there is none. */
export function formatNamed(name: string): Format | undefined {
  return groupsNamed(name) ?? listed.get(name);
}

/** The format that users call `name`, or one of its aliases. Throws `FormatError`, with the name that may be meant. */
export function formatByName(name: string): Format {
  const format = formatNamed(Object.hasOwn(formatAliases, name) ? formatAliases[name]! : name);
  if (format) return format;
  const names = [...listed.keys(), ...Object.keys(formatAliases)];
  throw new FormatError(
    `There is no format "${name}".${suggest(name, names, { digits: true })} Known: ${names.join(', ')}. ` +
      `Of integer groups all that are ${INTEGER_GRAMMAR}. Of FP8 ${FLOAT8_GRAMMAR}.`,
  );
}
