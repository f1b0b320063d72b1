import { FormatError } from '../errors.ts';
import { suggest } from '../suggest.ts';
import { bf16, f16, f32 } from './dense.ts';
import { mxfp4, nvfp4 } from './float4.ts';
import type { Format } from './format.ts';
import { q4_0, q4_1, q5_0, q5_1, q8_0 } from './ggml.ts';
import { integerGroups } from './integer-groups.ts';
import { iq4_nl, iq4_xs } from './iq4.ts';
import { q2_k, q3_k, q4_k, q5_k, q6_k } from './k-quants.ts';
import { tq1_0, tq2_0 } from './ternary.ts';
import { w8a8, w8a8Static } from './w8a8.ts';

export { checkRow } from './checks.ts';

const GROUPS = [32, 64, 128];

/** Every format there is: tests, benches, the command line's help and the demo walk this list. */
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
  w8a8,
  w8a8Static,
  ...([8, 4] as const).flatMap((bits) =>
    [false, true].flatMap((asymmetric) => GROUPS.map((group) => integerGroups(bits, group, asymmetric))),
  ),
];

/** Short names, with the format that each stands for. */
export const formatAliases: Readonly<Record<string, string>> = {
  int8: 'int8-g32',
  int4: 'int4-g32',
  'int8-asym': 'int8-g32-asym',
  'int4-asym': 'int4-g32-asym',
};

const byName = new Map(formats.map((format) => [format.name, format]));
for (const [alias, name] of Object.entries(formatAliases)) byName.set(alias, byName.get(name)!);

/** The format that users call `name`, or one of its aliases. Throws `FormatError`, with the name that may be meant. */
export function formatByName(name: string): Format {
  const format = byName.get(name);
  if (format) return format;
  const names = [...byName.keys()];
  throw new FormatError(
    `There is no format "${name}".${suggest(name, names, { digits: true })} Known: ${names.join(', ')}.`,
  );
}
