import { ModelError } from '../../errors.ts';
import type { JsonObject } from '../strict-json.ts';
import { quote } from '../text.ts';
import type { GgufArchitecture } from './architectures.ts';
import type { GgufFile } from './read.ts';
import { llama3Scaling } from './rope-factors.ts';
import { ROPE_FACTORS } from './tensor-names.ts';

/** Most numbers of `rope_freqs.weight`: half a head. */
const MAX_ROPE_FACTORS = 4096;

/** Reads scalar metadata of a file by key, with the types checked. */
export class Metadata {
  readonly #file: GgufFile;
  constructor(file: GgufFile) {
    this.#file = file;
  }

  /** @throws ModelError for a value that is no finite number, or no exact integer */
  number(key: string): number | undefined {
    const entry = this.#file.scalars.get(key);
    if (!entry) {
      if (!this.#file.arrays.has(key)) return undefined;
      throw new ModelError(
        `${this.#file.name}: ${key} has a value for each layer; models are read whose layers are all alike.`,
      );
    }
    const { value } = entry;
    const number = typeof value === 'bigint' ? Number(value) : value;
    const exact = typeof value !== 'bigint' || Number.isSafeInteger(number);
    if (typeof number !== 'number' || !Number.isFinite(number) || !exact) {
      throw new ModelError(
        `${this.#file.name}: ${key} is ${quote(String(value))}, which is no number. Convert it again.`,
      );
    }
    return number;
  }

  /** @throws ModelError also where there is none */
  required(key: string): number {
    const value = this.number(key);
    if (value === undefined) {
      throw new ModelError(
        `${this.#file.name}: the metadata lacks ${key}, without which it can't be run. Convert it again.`,
      );
    }
    return value;
  }

  string(key: string): string | undefined {
    const value = this.#file.scalars.get(key)?.value;
    return typeof value === 'string' ? value : undefined;
  }

  boolean(key: string): boolean | undefined {
    const value = this.#file.scalars.get(key)?.value;
    return typeof value === 'boolean' ? value : undefined;
  }
}

/** An f32 as the shortest decimal that means it: 0.00001, not 0.000009999999747378752. */
export function shortest(x: number): number {
  if (Math.fround(x) !== x) return x;
  for (let digits = 1; digits < 9; digits++) {
    const decimal = Number(x.toPrecision(digits));
    if (Math.fround(decimal) === x) return decimal;
  }
  return x;
}

/**
 * The config.json that Hugging Face would have for the model of a GGUF file.
 * @throws ModelError for metadata that is missing, or that no config can say
 */
export async function configOf(
  file: GgufFile,
  architecture: GgufArchitecture,
  signal?: AbortSignal,
): Promise<JsonObject> {
  const meta = new Metadata(file);
  const prefix = architecture.name;
  const hidden = meta.required(`${prefix}.embedding_length`);
  const heads = meta.required(`${prefix}.attention.head_count`);
  const rotary = meta.number(`${prefix}.rope.dimension_count`);
  const headDim = meta.number(`${prefix}.attention.key_length`) ?? rotary ?? hidden / heads;
  const valueDim = meta.number(`${prefix}.attention.value_length`) ?? headDim;
  if ((rotary ?? headDim) !== headDim || valueDim !== headDim) {
    throw new ModelError(
      `${file.name}: heads of ${headDim} with ${rotary} rotary and ${valueDim} value dimensions are not supported; all three must be the same.`,
    );
  }
  if (!Number.isInteger(headDim) || headDim < 2 || headDim % 2 !== 0) {
    throw new ModelError(`${file.name}: heads of ${headDim} dimensions have no pairs for rotary positions.`);
  }
  if ((meta.number(`${prefix}.expert_count`) ?? 0) > 0) {
    throw new ModelError(`${file.name}: it is a mixture of experts, which is not supported.`);
  }
  const theta = shortest(meta.number(`${prefix}.rope.freq_base`) ?? 10000);
  const window = meta.number(`${prefix}.attention.sliding_window`);
  const vocabulary = meta.number(`${prefix}.vocab_size`) ?? file.tensors.get('token_embd.weight')?.shape[0];
  const [name] = architecture.huggingFace;
  const bos = meta.number('tokenizer.ggml.bos_token_id');
  const eos = meta.number('tokenizer.ggml.eos_token_id');
  const scaling = await ropeScaling(file, meta, prefix, headDim, theta, signal);
  const attentionBias = file.tensors.has('blk.0.attn_q.bias');
  return {
    // Only Mistral has a window among the models that llama.cpp calls llama.
    architectures: [prefix === 'llama' && window !== undefined ? 'MistralForCausalLM' : name!],
    model_type: prefix === 'llama' && window !== undefined ? 'mistral' : architecture.modelType,
    hidden_size: hidden,
    intermediate_size: meta.required(`${prefix}.feed_forward_length`),
    num_hidden_layers: meta.required(`${prefix}.block_count`),
    num_attention_heads: heads,
    num_key_value_heads: meta.number(`${prefix}.attention.head_count_kv`) ?? heads,
    head_dim: headDim,
    ...(vocabulary !== undefined && { vocab_size: vocabulary }),
    max_position_embeddings: meta.required(`${prefix}.context_length`),
    rms_norm_eps: shortest(meta.required(`${prefix}.attention.layer_norm_rms_epsilon`)),
    rope_theta: theta,
    ...(scaling && { rope_scaling: scaling }),
    ...(window !== undefined && { sliding_window: window }),
    hidden_act: 'silu',
    // Qwen2's biases go without saying.
    ...(prefix !== 'qwen2' && { attention_bias: attentionBias }),
    ...(prefix === 'llama' && { mlp_bias: file.tensors.has('blk.0.ffn_gate.bias') }),
    tie_word_embeddings: !file.tensors.has('output.weight'),
    ...(bos !== undefined && { bos_token_id: bos }),
    ...(eos !== undefined && { eos_token_id: eos }),
  };
}

async function ropeScaling(
  file: GgufFile,
  meta: Metadata,
  prefix: string,
  headDim: number,
  theta: number,
  signal?: AbortSignal,
): Promise<JsonObject | undefined> {
  const factors = file.tensors.get(ROPE_FACTORS);
  if (factors) {
    const count = factors.shape[0]!;
    const readable = factors.type.name === 'f32' && factors.shape.length === 1 && count <= MAX_ROPE_FACTORS;
    const bytes = readable ? await file.rows(factors, 0, count, signal) : undefined;
    const scaling = bytes && llama3Scaling([...new Float32Array(bytes.buffer)], headDim, theta);
    if (scaling) return { rope_type: 'llama3', ...scaling };
    throw new ModelError(
      `${file.name}: the rotary factors in tensor ${quote(ROPE_FACTORS)} (offset ${factors.offset}) are not those of Llama 3.1's scaling; others are not supported.`,
    );
  }
  const kind = meta.string(`${prefix}.rope.scaling.type`);
  // Files of 2023 have the factor alone.
  const factor = meta.number(`${prefix}.rope.scaling.factor`) ?? meta.number(`${prefix}.rope.scale_linear`);
  if (kind === undefined && (factor === undefined || factor === 1)) return undefined;
  if (kind === 'none') return undefined;
  if (kind !== undefined && kind !== 'linear' && kind !== 'yarn') {
    throw new ModelError(`${file.name}: the position scaling ${quote(kind)} is not supported; linear and yarn are.`);
  }
  const extra: JsonObject = {};
  if (kind === 'yarn') {
    const original = meta.number(`${prefix}.rope.scaling.original_context_length`);
    const fast = meta.number(`${prefix}.rope.scaling.yarn_beta_fast`);
    const slow = meta.number(`${prefix}.rope.scaling.yarn_beta_slow`);
    if (original !== undefined) extra.original_max_position_embeddings = original;
    if (fast !== undefined) extra.beta_fast = shortest(fast);
    if (slow !== undefined) extra.beta_slow = shortest(slow);
  }
  return { rope_type: kind ?? 'linear', factor: shortest(factor ?? 1), ...extra };
}
