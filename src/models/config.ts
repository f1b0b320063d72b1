import * as v from 'valibot';
import { ModelError } from '../errors.ts';

/** What the Llama family needs to know, out of `config.json`. */
export interface LlamaConfig {
  readonly hidden: number;
  readonly ffn: number;
  readonly layers: number;
  readonly heads: number;
  /** Divides `heads`. */
  readonly kvHeads: number;
  /** Even. */
  readonly headDim: number;
  readonly vocabulary: number;
  readonly maxPositions: number;
  readonly normEpsilon: number;
  readonly ropeTheta: number;
  readonly attentionBias: boolean;
  readonly mlpBias: boolean;
  /** The output head is the embedding matrix. */
  readonly tiedHead: boolean;
}

// Each limit is far above any published model: a config beyond it is broken or hostile, and would make us allocate
// or loop without end (CWE-770). Products of any two stay safe integers.
const MAX_LAYERS = 1024;
const MAX_HEADS = 4096;
const MAX_HEAD_DIM = 4096;
const MAX_WIDTH = 2 ** 20;
const MAX_VOCABULARY = 2 ** 24;
const MAX_POSITIONS = 2 ** 28;

const whole = (max: number) => {
  const message = `must be a whole number from 1 to ${max}`;
  return v.pipe(v.number(message), v.integer(message), v.minValue(1, message), v.maxValue(max, message));
};
const between = (low: number, high: number) => {
  const message = `must be a number above ${low} and up to ${high}`;
  return v.pipe(v.number(message), v.gtValue(low, message), v.maxValue(high, message));
};
const flag = v.nullish(v.boolean('must be true or false'), false);
const theta = between(0, 1e15);

// "rope_scaling" until Transformers 4, "rope_parameters" since 5; "type" is the oldest spelling.
const ropeKind = v.nullish(
  v.literal('default', 'is a position scaling that is not supported; only "default" (none) is'),
  'default',
);
const ropeMessage = 'must be an object or null';
const rope = v.nullish(v.object({ rope_type: ropeKind, type: ropeKind, rope_theta: v.nullish(theta) }, ropeMessage));

// Names and defaults are those of Hugging Face's LlamaConfig, except that the sizes must be there.
const schema = v.object(
  {
    hidden_size: whole(MAX_WIDTH),
    intermediate_size: whole(MAX_WIDTH),
    num_hidden_layers: whole(MAX_LAYERS),
    num_attention_heads: whole(MAX_HEADS),
    num_key_value_heads: v.nullish(whole(MAX_HEADS)),
    head_dim: v.nullish(whole(MAX_HEAD_DIM)),
    vocab_size: whole(MAX_VOCABULARY),
    max_position_embeddings: v.nullish(whole(MAX_POSITIONS), 2048),
    rms_norm_eps: v.nullish(between(0, 1), 1e-6),
    rope_theta: v.nullish(theta),
    rope_scaling: rope,
    rope_parameters: rope,
    hidden_act: v.nullish(v.literal('silu', 'is an activation that is not supported; only "silu" is'), 'silu'),
    attention_bias: flag,
    mlp_bias: flag,
    tie_word_embeddings: flag,
  },
  'must be an object',
);

const REMEDY = 'Use the config.json that belongs to the checkpoint, as its publisher wrote it.';

/** Shown in messages: short, whatever the file holds. */
const shown = (value: unknown): string => {
  const text = JSON.stringify(value) ?? 'missing';
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
};

/** Reads a Llama-type `config.json`. `file` names it in the message of the `ModelError` that a bad field throws. */
export function parseLlamaConfig(config: unknown, file: string): LlamaConfig {
  const result = v.safeParse(schema, config, { abortEarly: true, abortPipeEarly: true });
  if (!result.success) {
    const issue = result.issues[0];
    const field = v.getDotPath(issue) ?? 'the whole file';
    // An absent key is reported by the object, with its own words; the field's words say what is wanted.
    const problem = issue.input === undefined ? 'is missing' : `${issue.message}`;
    const found = issue.input === undefined ? '' : ` (found ${shown(issue.input)})`;
    throw new ModelError(`${file}: ${field} ${problem}${found}. ${REMEDY}`);
  }
  const c = result.output;
  const heads = c.num_attention_heads;
  const kvHeads = c.num_key_value_heads ?? heads;
  const headDim = c.head_dim ?? c.hidden_size / heads;
  const fail = (problem: string): never => {
    throw new ModelError(`${file}: ${problem}. ${REMEDY}`);
  };
  if (heads % kvHeads !== 0) {
    fail(`num_key_value_heads ${kvHeads} does not divide num_attention_heads ${heads}`);
  }
  if (!Number.isInteger(headDim)) {
    fail(`num_attention_heads ${heads} does not divide hidden_size ${c.hidden_size}, and there is no head_dim`);
  }
  if (headDim % 2 !== 0) {
    fail(`head_dim ${headDim} is odd; rotary positions turn pairs, so it must be even`);
  }
  if (headDim > MAX_HEAD_DIM) {
    fail(`hidden_size ${c.hidden_size} over num_attention_heads ${heads} is above the limit of ${MAX_HEAD_DIM} a head`);
  }
  return {
    hidden: c.hidden_size,
    ffn: c.intermediate_size,
    layers: c.num_hidden_layers,
    heads,
    kvHeads,
    headDim,
    vocabulary: c.vocab_size,
    maxPositions: c.max_position_embeddings,
    normEpsilon: c.rms_norm_eps,
    ropeTheta: c.rope_parameters?.rope_theta ?? c.rope_theta ?? 10000,
    attentionBias: c.attention_bias,
    mlpBias: c.mlp_bias,
    tiedHead: c.tie_word_embeddings,
  };
}
