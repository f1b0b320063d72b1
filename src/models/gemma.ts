import * as v from 'valibot';
import { commonEntries, type DecoderShape, shapeOf, slidingLayers, windowEntries } from './config.ts';
import { activation, between, flag, readFields, theta } from './config-fields.ts';
import { type DecoderSpec, decoderGraph } from './decoder-graph.ts';
import type { Family } from './family.ts';
import { ropeFields, rotaryLayer } from './layers.ts';
import { ropeSchema } from './rope.ts';

const cap = v.nullish(between(0.001, 1e6));
const positive = v.nullish(between(0, 2 ** 20), 256);

const entries = {
  ...commonEntries,
  // Configs of the first Gemma say "gelu" in hidden_act and mean the tanh form, which hidden_activation names.
  hidden_activation: activation('gelu_pytorch_tanh'),
  attention_bias: flag,
};
const schema = v.object(entries, 'must be an object');
const schema2 = v.object(
  {
    ...entries,
    sliding_window: windowEntries.sliding_window,
    layer_types: windowEntries.layer_types,
    query_pre_attn_scalar: positive,
    attn_logit_softcapping: cap,
    final_logit_softcapping: cap,
  },
  'must be an object',
);
const schema3 = v.object(
  {
    ...schema2.entries,
    rope_local_base_freq: v.nullish(theta, 10000),
    rope_local: v.nullish(ropeSchema),
    sliding_window_pattern: v.nullish(v.pipe(v.number('must be a number'), v.minValue(1, 'must be 1 or more')), 6),
    use_bidirectional_attention: v.nullish(v.literal(false, 'must be false: tokens see nothing ahead here')),
  },
  'must be an object',
);

/** What all Gemmas share. */
function gemmaSpec(
  c: { readonly attention_bias: boolean; readonly tie_word_embeddings?: boolean | null | undefined },
  shape: DecoderShape,
): Omit<DecoderSpec, 'layers'> {
  return {
    ...shape,
    tiedHead: c.tie_word_embeddings ?? true,
    qkvBias: c.attention_bias,
    outputBias: c.attention_bias,
    normOffset: 1,
    activation: 'gelu-tanh',
    // Hugging Face rounds it to the type of the activations: ours are f32, whatever the weights' type is.
    embeddingScale: Math.fround(Math.sqrt(shape.hidden)),
  };
}

/** Gemma 1: scaled embeddings, norms around 1, GELU gates. Source: Gemma Team, 2024. */
export const gemma: Family = {
  architectures: ['GemmaForCausalLM'],
  build(config, file) {
    const c = readFields(schema, config, file);
    const shape = shapeOf(c, file, { headDim: 256, maxPositions: 8192 });
    const layer = rotaryLayer({ shape, ...ropeFields(c) }, file);
    return decoderGraph({
      ...gemmaSpec(c, shape),
      layers: Array.from({ length: c.num_hidden_layers }, () => layer),
    });
  },
};

const WINDOW = 4096;

/** Gemma 2: norms on both sides, capped scores and logits, a window on every other layer. Source: Gemma Team, "Gemma 2", 2024. */
export const gemma2: Family = {
  architectures: ['Gemma2ForCausalLM'],
  build(config, file) {
    const c = readFields(schema2, config, file);
    const shape = shapeOf(c, file, { headDim: 256, maxPositions: 8192 });
    const window = c.sliding_window === undefined ? WINDOW : (c.sliding_window ?? undefined);
    const layer = rotaryLayer({ shape, ...ropeFields(c), scale: c.query_pre_attn_scalar ** -0.5 }, file);
    const sliding = slidingLayers(c, file, (index) => index % 2 === 0);
    return decoderGraph({
      ...gemmaSpec(c, shape),
      layers: sliding.map((slides) => ({ ...layer, window: slides ? window : undefined })),
      postNorms: true,
      scoreCap: c.attn_logit_softcapping === undefined ? 50 : (c.attn_logit_softcapping ?? undefined),
      logitCap: c.final_logit_softcapping === undefined ? 30 : (c.final_logit_softcapping ?? undefined),
    });
  },
};

/**
 * The text models of Gemma 3: norms on queries and keys in place of caps, five layers with a window and short waves to one
 * without. Source: Gemma Team, "Gemma 3", 2025.
 */
export const gemma3: Family = {
  architectures: ['Gemma3ForCausalLM'],
  build(config, file) {
    const c = readFields(schema3, splitRope(config), file);
    const shape = shapeOf(c, file, { headDim: 256, maxPositions: 131072 });
    const scale = c.query_pre_attn_scalar ** -0.5;
    const window = c.sliding_window === undefined ? WINDOW : (c.sliding_window ?? undefined);
    const whole = rotaryLayer({ shape, ...ropeFields(c, 1e6), scale }, file);
    const localTheta = c.rope_local?.rope_theta ?? c.rope_local_base_freq;
    const local = rotaryLayer({ shape, theta: localTheta, scaling: c.rope_local, scale, window }, file);
    const sliding = slidingLayers(c, file, (index) => (index + 1) % c.sliding_window_pattern !== 0);
    return decoderGraph({
      ...gemmaSpec(c, shape),
      layers: sliding.map((slides) => (slides ? local : whole)),
      postNorms: true,
      qkNorm: true,
      scoreCap: c.attn_logit_softcapping ?? undefined,
      logitCap: c.final_logit_softcapping ?? undefined,
    });
  },
};

/** Transformers 5 writes the two kinds of waves side by side into "rope_parameters". */
function splitRope(config: unknown): unknown {
  if (typeof config !== 'object' || config === null || !('rope_parameters' in config)) return config;
  const { rope_parameters: both } = config;
  if (typeof both !== 'object' || both === null || !('full_attention' in both)) return config;
  const local = 'sliding_attention' in both ? both.sliding_attention : undefined;
  return { ...config, rope_parameters: both.full_attention, rope_local: local };
}
