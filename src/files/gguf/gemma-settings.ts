import type { JsonObject } from '../strict-json.ts';
import type { ConfigFields } from './config-fields.ts';
import { f32, type GgufEntry, u32 } from './entries.ts';
import type { FamilySettings, ReadFacts } from './family-settings.ts';
import { shortest } from './metadata.ts';

/** GELU, scaled embeddings and norms around 1 go without saying. */
const ACTIVATION = { hidden_activation: 'gelu_pytorch_tanh' };

function checkBiases(fields: ConfigFields): void {
  if (fields.config.attention_bias === true) fields.cannotSay('attention_bias');
}

/** llama.cpp takes the embedding for the head whatever the file has. */
function checkTied(fields: ConfigFields): void {
  if (fields.config.tie_word_embeddings === false) fields.cannotSay('a head apart from the embedding');
}

export const gemmaSettings: FamilySettings = {
  write(fields) {
    checkBiases(fields);
    checkTied(fields);
    return [];
  },
  read: () => ({ ...ACTIVATION, attention_bias: false }),
};

/** Of Gemma 2 or 3. */
interface WindowDefaults {
  readonly name: 'gemma2' | 'gemma3';
  /** The last of how many layers sees everything. */
  readonly period: number;
  /** Layers of the model whose queries are scaled by the width of a head as if heads shared the hidden width. */
  readonly largest: number;
}

const GEMMA2: WindowDefaults = { name: 'gemma2', period: 2, largest: 46 };
const GEMMA3: WindowDefaults = { name: 'gemma3', period: 6, largest: 62 };

/** Where the config does not say it. */
const WINDOW = 4096;
const QUERY_SCALAR = 256;

/** What llama.cpp divides queries by the root of: no key says it. */
function impliedScalar(
  { largest }: WindowDefaults,
  { layers, hidden, heads, headDim }: Pick<ReadFacts, 'layers' | 'hidden' | 'heads' | 'headDim'>,
): number {
  return layers === largest ? Math.floor(hidden / heads) : headDim;
}

function checkScalar(fields: ConfigFields, defaults: WindowDefaults): void {
  const scalar = fields.number('query_pre_attn_scalar') ?? QUERY_SCALAR;
  const implied = impliedScalar(defaults, fields);
  if (scalar !== implied) fields.cannotSay(`query_pre_attn_scalar ${scalar} where llama.cpp has ${implied}`);
}

/** Which layers see a window: as many in a row as there are before each that does not. */
function windowEntries(fields: ConfigFields, { name, period: implied }: WindowDefaults): GgufEntry[] {
  const { config, layers } = fields;
  const types = Array.isArray(config.layer_types) ? config.layer_types : undefined;
  const given = name === 'gemma3' ? (fields.number('sliding_window_pattern') ?? implied) : implied;
  const slides = (layer: number, period: number) => layer % period < period - 1;
  const window = fields.nullable('sliding_window', WINDOW);
  const sliding = Array.from({ length: layers }, (_, i) =>
    types ? types[i] === 'sliding_attention' : slides(i, given),
  );
  if (!sliding.includes(true) && name === 'gemma3') return [];
  if (window === undefined) return fields.cannotSay('that there is no window');
  // The implied one first, since short models may have several.
  const whole = sliding.indexOf(false) + 1;
  const period = [implied, given, whole].find((each) => each > 1 && sliding.every((is, i) => is === slides(i, each)));
  if (period === undefined) return fields.cannotSay('these layer_types');
  return [
    u32(`${name}.attention.sliding_window`, window),
    ...(period === implied ? [] : [u32(`${name}.attention.sliding_window_pattern`, period)]),
  ];
}

function readWindow({ meta, hidden, heads, layers, headDim }: ReadFacts, defaults: WindowDefaults): JsonObject {
  const { name, period: implied } = defaults;
  const period = meta.number(`${name}.attention.sliding_window_pattern`) ?? implied;
  return {
    query_pre_attn_scalar: impliedScalar(defaults, { layers, hidden, heads, headDim }),
    layer_types: Array.from({ length: layers }, (_, i) =>
      // 0: none of them sees everything.
      period === 0 || i % period < period - 1 ? 'sliding_attention' : 'full_attention',
    ),
  };
}

/** Gemma 2: caps, and a window on every other layer. */
export const gemma2Settings: FamilySettings = {
  write(fields) {
    checkBiases(fields);
    checkTied(fields);
    checkScalar(fields, GEMMA2);
    const attention = fields.nullable('attn_logit_softcapping', 50);
    const final = fields.nullable('final_logit_softcapping', 30);
    if (attention === undefined || final === undefined) return fields.cannotSay('that scores or logits have no cap');
    return [
      ...windowEntries(fields, GEMMA2),
      f32('gemma2.attn_logit_softcapping', attention),
      f32('gemma2.final_logit_softcapping', final),
    ];
  },
  read(facts) {
    const { meta } = facts;
    return {
      ...ACTIVATION,
      attention_bias: false,
      ...readWindow(facts, GEMMA2),
      sliding_window: meta.number('gemma2.attention.sliding_window') ?? WINDOW,
      attn_logit_softcapping: shortest(meta.number('gemma2.attn_logit_softcapping') ?? 50),
      final_logit_softcapping: shortest(meta.number('gemma2.final_logit_softcapping') ?? 30),
    };
  },
};

/** Wavelengths of layers that see a window, where nothing says it. */
const LOCAL_THETA = 10000;

/** The text models of Gemma 3: a window and short waves on five layers of six. */
export const gemma3Settings: FamilySettings = {
  write(fields) {
    checkBiases(fields);
    checkScalar(fields, GEMMA3);
    if (fields.number('attn_logit_softcapping') !== undefined) fields.cannotSay('that scores have a cap');
    const local = fields.localRope;
    const kind = local?.rope_type ?? local?.type ?? 'default';
    if (kind !== 'default') fields.cannotSay('that positions are scaled in layers that see a window');
    const localTheta =
      (local && fields.number('rope_theta', local)) ?? fields.number('rope_local_base_freq') ?? LOCAL_THETA;
    const final = fields.number('final_logit_softcapping');
    return [
      ...windowEntries(fields, GEMMA3),
      f32('gemma3.rope.freq_base_swa', localTheta),
      ...(final === undefined ? [] : [f32('gemma3.final_logit_softcapping', final)]),
    ];
  },
  read(facts) {
    const { meta, layers } = facts;
    const window = meta.number('gemma3.attention.sliding_window') ?? 0;
    const final = meta.number('gemma3.final_logit_softcapping') ?? 0;
    const local = meta.number('gemma3.rope.freq_base_swa');
    return {
      ...ACTIVATION,
      attention_bias: false,
      ...readWindow(facts, GEMMA3),
      ...(window === 0 && { layer_types: Array.from({ length: layers }, () => 'full_attention') }),
      sliding_window: window === 0 ? null : window,
      rope_local_base_freq: shortest(local ?? LOCAL_THETA),
      attn_logit_softcapping: null,
      final_logit_softcapping: final === 0 ? null : shortest(final),
    };
  },
};
