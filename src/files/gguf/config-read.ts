import { ModelError } from '../../errors.ts';
import type { JsonObject } from '../strict-json.ts';
import { architectureOf, type GgufArchitecture } from './architectures.ts';
import { MAX_LAYERS } from './limits.ts';
import { Metadata, shortest } from './metadata.ts';
import type { GgufFile } from './read.ts';
import { ropeScaling } from './rope-read.ts';
import { settingsOf } from './settings-by-type.ts';

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
  const vocabulary = meta.number(`${prefix}.vocab_size`) ?? file.tensors.get('token_embd.weight')?.shape[0];
  // Only Mistral has a window among the models that llama.cpp calls llama.
  const mistral = prefix === 'llama' && meta.number('llama.attention.sliding_window') !== undefined;
  const kind = mistral ? architectureOf({ architectures: ['MistralForCausalLM'] })! : architecture;
  const layers = meta.required(`${prefix}.block_count`);
  if (layers > MAX_LAYERS) {
    throw new ModelError(
      `${file.name}: ${prefix}.block_count (num_hidden_layers) is ${layers}; models of at most ${MAX_LAYERS} layers are run.`,
    );
  }
  const bos = meta.number('tokenizer.ggml.bos_token_id');
  const eos = meta.number('tokenizer.ggml.eos_token_id');
  const scaling = await ropeScaling(file, meta, prefix, headDim, theta, signal);
  const has = (tensor: string) => file.tensors.has(tensor);
  const special = settingsOf(kind).read({ meta, layers, hidden, heads, headDim, has });
  return {
    architectures: [kind.huggingFace],
    model_type: kind.modelType,
    hidden_size: hidden,
    intermediate_size: meta.required(`${prefix}.feed_forward_length`),
    num_hidden_layers: layers,
    num_attention_heads: heads,
    num_key_value_heads: meta.number(`${prefix}.attention.head_count_kv`) ?? heads,
    head_dim: headDim,
    ...(vocabulary !== undefined && { vocab_size: vocabulary }),
    max_position_embeddings: meta.required(`${prefix}.context_length`),
    rms_norm_eps: shortest(meta.required(`${prefix}.attention.layer_norm_rms_epsilon`)),
    rope_theta: theta,
    ...(scaling && { rope_scaling: scaling }),
    ...special,
    // Gemmas say it in a field of their own.
    ...(!('hidden_activation' in special) && { hidden_act: 'silu' }),
    tie_word_embeddings: !has('output.weight'),
    ...(bos !== undefined && { bos_token_id: bos }),
    ...(eos !== undefined && { eos_token_id: eos }),
  };
}
