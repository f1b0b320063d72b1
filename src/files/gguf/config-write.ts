import type { JsonObject } from '../strict-json.ts';
import type { GgufArchitecture } from './architectures.ts';
import { ConfigFields } from './config-fields.ts';
import { f32, type GgufEntry, u32 } from './entries.ts';
import { ropeEntries } from './rope-write.ts';
import { settingsOf } from './settings-by-type.ts';

/** A model's config as GGUF says it. */
export interface GgufConfig {
  /** The keys under the architecture's name. */
  readonly entries: readonly GgufEntry[];
  readonly headDim: number;
  /** Rows of the embedding, which the list of tokens has to match. */
  readonly vocabulary: number;
  /** The head is the embedding. */
  readonly tiedHead: boolean;
  /** For the tensor `rope_freqs.weight`; undefined where positions are not scaled as Llama 3.1 does. */
  readonly ropeFactors: Float32Array<ArrayBuffer> | undefined;
}

/** What config.json says, in GGUF's words. `file` names it in the ModelError for what GGUF can't say. */
export function ggufConfigOf(config: JsonObject, architecture: GgufArchitecture, file: string): GgufConfig {
  const fields = new ConfigFields(config, architecture, file);
  const { headDim, heads, theta } = fields;
  const a = architecture.name;
  const vocabulary = fields.required('vocab_size');
  const maxPositions = fields.number('max_position_embeddings') ?? architecture.defaults.maxPositions;
  const tied = config.tie_word_embeddings;
  const { entries: rope, factors: ropeFactors } = ropeEntries(fields, maxPositions);
  const entries = [
    u32(`${a}.block_count`, fields.layers),
    u32(`${a}.context_length`, maxPositions),
    u32(`${a}.embedding_length`, fields.hidden),
    u32(`${a}.feed_forward_length`, fields.ffn),
    u32(`${a}.attention.head_count`, heads),
    u32(`${a}.attention.head_count_kv`, fields.number('num_key_value_heads') ?? heads),
    u32(`${a}.attention.key_length`, headDim),
    u32(`${a}.attention.value_length`, headDim),
    f32(`${a}.attention.layer_norm_rms_epsilon`, fields.number('rms_norm_eps') ?? 1e-6),
    f32(`${a}.rope.freq_base`, theta),
    u32(`${a}.rope.dimension_count`, headDim),
    u32(`${a}.vocab_size`, vocabulary),
    ...settingsOf(architecture).write(fields),
    ...rope,
  ];
  const tiedHead = typeof tied === 'boolean' ? tied : architecture.defaults.tiedHead;
  return { entries, headDim, vocabulary, tiedHead, ropeFactors };
}
