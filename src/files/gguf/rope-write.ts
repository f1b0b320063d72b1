import type { ConfigFields } from './config-fields.ts';
import { f32, type GgufEntry, text, u32 } from './entries.ts';
import { type Llama3Scaling, llama3Factors } from './rope-factors.ts';

/** How positions are scaled, in GGUF's words. */
export interface RopeEntries {
  readonly entries: readonly GgufEntry[];
  /** As `GgufConfig.ropeFactors`. */
  readonly factors: Float32Array<ArrayBuffer> | undefined;
}

/** @throws ModelError for a scaling that llama.cpp does not compute for this kind of model */
export function ropeEntries(fields: ConfigFields, maxPositions: number): RopeEntries {
  const { rope, architecture, headDim, theta } = fields;
  const a = architecture.name;
  const kind = String(rope.rope_type ?? rope.type ?? 'default');
  const number = (key: string): number => fields.number(key, rope) ?? fields.fail(`the position scaling lacks ${key}.`);
  switch (kind) {
    case 'default':
      return { entries: [], factors: undefined };
    case 'linear':
      return { entries: scaling(a, kind, number('factor')), factors: undefined };
    case 'yarn':
      // Its blend and its factor would apply to layers with a window, too.
      if (a === 'gemma3') break;
      checkYarn(fields, number('factor'));
      return {
        entries: [...scaling(a, kind, number('factor')), ...yarnEntries(fields, maxPositions)],
        factors: undefined,
      };
    case 'llama3': {
      // Others leave the tensor of factors unread.
      if (a !== 'llama') break;
      const wanted: Llama3Scaling = {
        factor: number('factor'),
        low_freq_factor: number('low_freq_factor'),
        high_freq_factor: number('high_freq_factor'),
        original_max_position_embeddings: number('original_max_position_embeddings'),
      };
      return { entries: [], factors: llama3Factors(wanted, headDim, theta) };
    }
  }
  return fields.cannotSay(`the position scaling ${JSON.stringify(kind)}`);
}

const scaling = (a: string, kind: string, factor: number): GgufEntry[] => [
  text(`${a}.rope.scaling.type`, kind),
  f32(`${a}.rope.scaling.factor`, factor),
];

function yarnEntries(fields: ConfigFields, maxPositions: number): GgufEntry[] {
  const { rope, architecture } = fields;
  const a = architecture.name;
  const original = fields.number('original_max_position_embeddings', rope) ?? maxPositions;
  return [
    u32(`${a}.rope.scaling.original_context_length`, original),
    ...['beta_fast', 'beta_slow'].flatMap((key) => {
      const value = fields.number(key, rope);
      return value === undefined ? [] : [f32(`${a}.rope.scaling.yarn_${key}`, value)];
    }),
  ];
}

/** llama.cpp has YaRN's own factor on attention and whole bounds of the ramp. */
function checkYarn(fields: ConfigFields, factor: number): void {
  const { rope } = fields;
  const own = 0.1 * Math.log(Math.max(1, factor)) + 1;
  const attention = fields.number('attention_factor', rope) ?? own;
  if (Math.abs(attention - own) > 1e-6) fields.cannotSay(`YaRN's attention_factor ${attention}`);
  const scales = [fields.number('mscale', rope), fields.number('mscale_all_dim', rope)];
  if (scales.every((scale) => scale !== undefined && scale !== 0)) fields.cannotSay("YaRN's mscale and mscale_all_dim");
  if (rope.truncate === false) fields.cannotSay('YaRN without truncate');
}
