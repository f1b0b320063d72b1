import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { compress, memoryFolder, nodeFileSink } from 'compressa';
import { type Claim, type Measurement, SAMPLE_MODEL } from '../claim.ts';
import { nextClaim, ourOpinion, perplexityClaim, theirOpinion } from '../gguf-opinions.ts';
import { random } from '../random.ts';
import { randomModel } from '../random-model.ts';

/** Small, of random weights; the vocabulary is the sample model's. */
const COMMON = {
  hidden_size: 128,
  intermediate_size: 256,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  vocab_size: 4096,
  max_position_embeddings: 512,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  hidden_act: 'silu',
  tie_word_embeddings: false,
  bos_token_id: 0,
  eos_token_id: 0,
};
const llama3 = {
  rope_type: 'llama3',
  factor: 8,
  low_freq_factor: 1,
  high_freq_factor: 4,
  original_max_position_embeddings: 64,
};
const yarn = { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 128 };
const gemma = { head_dim: 64, tie_word_embeddings: true, hidden_activation: 'gelu_pytorch_tanh' };

const MODELS: Readonly<Record<string, object>> = {
  'Llama, with its head apart': { architectures: ['LlamaForCausalLM'] },
  'Llama, scaled as 3.1 is': { architectures: ['LlamaForCausalLM'], rope_scaling: llama3, tie_word_embeddings: true },
  'Llama, scaled linearly': { architectures: ['LlamaForCausalLM'], rope_scaling: { rope_type: 'linear', factor: 2 } },
  'Llama, scaled by YaRN': { architectures: ['LlamaForCausalLM'], rope_scaling: yarn },
  'Llama, wide heads': { architectures: ['LlamaForCausalLM'], head_dim: 64, num_key_value_heads: 1 },
  Mistral: { architectures: ['MistralForCausalLM'], sliding_window: null },
  // llama.cpp passes windows of Mistral over, so it agrees up to where one ends.
  'Mistral, with a window as long as the text': { architectures: ['MistralForCausalLM'], sliding_window: 200 },
  'Qwen2, with biases': { architectures: ['Qwen2ForCausalLM'] },
  'Qwen2, scaled by YaRN': { architectures: ['Qwen2ForCausalLM'], rope_scaling: yarn },
  'Qwen3, with norms of heads': { architectures: ['Qwen3ForCausalLM'], head_dim: 64 },
  'SmolLM3, five layers': { architectures: ['SmolLM3ForCausalLM'], num_hidden_layers: 5 },
  'SmolLM3, tied, scaled by YaRN': {
    architectures: ['SmolLM3ForCausalLM'],
    num_hidden_layers: 5,
    tie_word_embeddings: true,
    rope_scaling: yarn,
  },
  'Gemma 1': { architectures: ['GemmaForCausalLM'], ...gemma, num_key_value_heads: 1 },
  'Gemma 2, windows shorter than the text': {
    architectures: ['Gemma2ForCausalLM'],
    ...gemma,
    sliding_window: 32,
    query_pre_attn_scalar: 64,
    // Caps that bend many scores and logits.
    attn_logit_softcapping: 5,
    final_logit_softcapping: 10,
  },
  'Gemma 3, windows shorter than the text': {
    architectures: ['Gemma3ForCausalLM'],
    ...gemma,
    num_hidden_layers: 7,
    sliding_window: 32,
    query_pre_attn_scalar: 64,
    rope_theta: 1e6,
    rope_scaling: { rope_type: 'linear', factor: 8 },
  },
  'Gemma 3, every other layer local': {
    architectures: ['Gemma3ForCausalLM'],
    ...gemma,
    sliding_window: 32,
    sliding_window_pattern: 2,
    query_pre_attn_scalar: 64,
    rope_local_base_freq: 20000,
    final_logit_softcapping: 10,
  },
};

/** Models of every family that is written to GGUF mean the same to llama.cpp. */
export const claim: Claim = {
  name: 'GGUF families in llama.cpp',
  async measure(gpu) {
    const folder = await mkdtemp(join(tmpdir(), 'compressa-gguf-'));
    const tokenizer = await readFile(`${SAMPLE_MODEL}/tokenizer.json`);
    const next = random(7);
    const windows = Array.from({ length: 2 }, () => Uint32Array.from({ length: 200 }, () => Math.floor(next() * 4096)));
    const prompt = [...windows[0]!.slice(0, 100)];
    const measurements: Measurement[] = [];
    try {
      for (const [name, differences] of Object.entries(MODELS)) {
        const config = { ...COMMON, ...differences };
        const files = {
          'config.json': JSON.stringify(config),
          'tokenizer.json': tokenizer,
          'model.safetensors': await randomModel(config),
        };
        const path = join(folder, 'model.gguf');
        await compress(memoryFolder(name, files), await nodeFileSink(path, { overwrite: true }), {
          gpu,
          format: 'keep',
        });
        const theirs = await theirOpinion(path, windows, prompt);
        if (typeof theirs === 'string') {
          return [{ claim: name, threshold: 'llama.cpp is there', measured: theirs, pass: false }];
        }
        const ours = await ourOpinion(gpu, path, windows, prompt);
        measurements.push(perplexityClaim(name, ours, theirs), nextClaim(name, ours, theirs));
      }
      return measurements;
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
};
