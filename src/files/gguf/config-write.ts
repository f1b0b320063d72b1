import { ModelError } from '../../errors.ts';
import type { Json, JsonObject } from '../strict-json.ts';
import { quote } from '../text.ts';
import type { GgufArchitecture } from './architectures.ts';
import { f32, type GgufEntry, text, u32 } from './entries.ts';
import { type Llama3Scaling, llama3Factors } from './rope-factors.ts';

/** A model's config as GGUF says it. */
export interface GgufConfig {
  /** The keys under the architecture's name. */
  readonly entries: readonly GgufEntry[];
  readonly headDim: number;
  /** Rows of the embedding, which the list of tokens has to match. */
  readonly vocabulary: number;
  /** For the tensor `rope_freqs.weight`; undefined where positions are not scaled as Llama 3.1 does. */
  readonly ropeFactors: Float32Array<ArrayBuffer> | undefined;
}

/** What config.json says, in GGUF's words. `file` names it in the ModelError for what GGUF can't say. */
export function ggufConfigOf(config: JsonObject, architecture: GgufArchitecture, file: string): GgufConfig {
  const optional = (key: string, from: JsonObject = config): number | undefined => {
    const value = from[key];
    if (value === undefined || value === null) return undefined;
    if (typeof value === 'number' && Number.isFinite(value)) return value;
    throw new ModelError(`${file}: ${key} is ${quote(JSON.stringify(value))}, which is no number.`);
  };
  const required = (key: string): number => {
    const value = optional(key);
    if (value === undefined) throw new ModelError(`${file}: ${key} is missing.`);
    return value;
  };
  const a = architecture.name;
  const hidden = required('hidden_size');
  const heads = required('num_attention_heads');
  // Qwen3's own default.
  const headDim = optional('head_dim') ?? (a === 'qwen3' ? 128 : hidden / heads);
  const rope = objectOf(config.rope_parameters) ?? objectOf(config.rope_scaling) ?? {};
  const theta = optional('rope_theta', rope) ?? optional('rope_theta') ?? 10000;
  const vocabulary = required('vocab_size');
  const maxPositions = optional('max_position_embeddings') ?? 2048;
  const window = windowOf(config, a, optional('sliding_window'), file);
  const entries = [
    u32(`${a}.block_count`, required('num_hidden_layers')),
    u32(`${a}.context_length`, maxPositions),
    u32(`${a}.embedding_length`, hidden),
    u32(`${a}.feed_forward_length`, required('intermediate_size')),
    u32(`${a}.attention.head_count`, heads),
    u32(`${a}.attention.head_count_kv`, optional('num_key_value_heads') ?? heads),
    u32(`${a}.attention.key_length`, headDim),
    u32(`${a}.attention.value_length`, headDim),
    f32(`${a}.attention.layer_norm_rms_epsilon`, optional('rms_norm_eps') ?? 1e-6),
    f32(`${a}.rope.freq_base`, theta),
    u32(`${a}.rope.dimension_count`, headDim),
    u32(`${a}.vocab_size`, vocabulary),
    ...(window === undefined ? [] : [u32(`${a}.attention.sliding_window`, window)]),
  ];

  const kind = rope.rope_type ?? rope.type ?? 'default';
  const number = (key: string): number => {
    const value = optional(key, rope);
    if (value === undefined) throw new ModelError(`${file}: the position scaling lacks ${key}.`);
    return value;
  };
  let ropeFactors: Float32Array<ArrayBuffer> | undefined;
  if (kind === 'llama3') {
    const scaling: Llama3Scaling = {
      factor: number('factor'),
      low_freq_factor: number('low_freq_factor'),
      high_freq_factor: number('high_freq_factor'),
      original_max_position_embeddings: number('original_max_position_embeddings'),
    };
    ropeFactors = llama3Factors(scaling, headDim, theta);
  } else if (kind === 'linear' || kind === 'yarn') {
    entries.push(text(`${a}.rope.scaling.type`, kind), f32(`${a}.rope.scaling.factor`, number('factor')));
    if (kind === 'yarn') {
      const original = optional('original_max_position_embeddings', rope) ?? maxPositions;
      entries.push(u32(`${a}.rope.scaling.original_context_length`, original));
      for (const key of ['beta_fast', 'beta_slow']) {
        const value = optional(key, rope);
        if (value !== undefined) entries.push(f32(`${a}.rope.scaling.yarn_${key}`, value));
      }
    }
  } else if (kind !== 'default') {
    throw new ModelError(
      `${file}: GGUF files of ${a} models can't say the position scaling ${quote(String(kind))}. Choose a folder or a .safetensors file.`,
    );
  }
  return { entries, headDim, vocabulary, ropeFactors };
}

/** Mistral's window, which llama.cpp passes over; Compressa reads it back. */
function windowOf(
  config: JsonObject,
  architecture: string,
  window: number | undefined,
  file: string,
): number | undefined {
  if (architecture !== 'llama') {
    if (config.use_sliding_window !== true) return undefined;
    throw new ModelError(
      `${file}: GGUF files of ${architecture} models can't say that layers see a window. Choose a folder.`,
    );
  }
  if (!Array.isArray(config.architectures) || !config.architectures.includes('MistralForCausalLM')) return undefined;
  // What Mistral has where the config does not say it.
  return config.sliding_window === undefined ? 4096 : window;
}

const objectOf = (value: Json | undefined): JsonObject | undefined =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? value : undefined;
