/** The sizes that publishers give in config.json, and the parameters that they count in the checkpoints. */
import { expect, test } from 'vitest';
import { graphOf } from '../../../src/models/families.ts';

const sizes = (
  hidden_size: number,
  intermediate_size: number,
  num_hidden_layers: number,
  num_attention_heads: number,
  num_key_value_heads: number,
  vocab_size: number,
) => ({ hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, num_key_value_heads, vocab_size });

const published: [string, string, object, number][] = [
  [
    'Llama 3.2 1B',
    'Llama',
    {
      ...sizes(2048, 8192, 16, 32, 8, 128256),
      head_dim: 64,
      max_position_embeddings: 131072,
      rope_theta: 500000,
      rope_scaling: {
        factor: 32,
        high_freq_factor: 4,
        low_freq_factor: 1,
        original_max_position_embeddings: 8192,
        rope_type: 'llama3',
      },
      tie_word_embeddings: true,
    },
    1235814400,
  ],
  ['SmolLM2 135M', 'Llama', { ...sizes(576, 1536, 30, 9, 3, 49152), tie_word_embeddings: true }, 134515008],
  ['Mistral 7B 0.1', 'Mistral', { ...sizes(4096, 14336, 32, 32, 8, 32000), sliding_window: 4096 }, 7241732096],
  [
    'Qwen2.5 0.5B',
    'Qwen2',
    {
      ...sizes(896, 4864, 24, 14, 2, 151936),
      max_window_layers: 24,
      sliding_window: 32768,
      use_sliding_window: false,
      rope_theta: 1e6,
      tie_word_embeddings: true,
    },
    494032768,
  ],
  [
    'Qwen3 0.6B',
    'Qwen3',
    {
      ...sizes(1024, 3072, 28, 16, 8, 151936),
      head_dim: 128,
      attention_bias: false,
      sliding_window: null,
      rope_scaling: null,
      rope_theta: 1e6,
      tie_word_embeddings: true,
    },
    596049920,
  ],
  ['SmolLM3 3B', 'SmolLM3', { ...sizes(2048, 11008, 36, 16, 4, 128256), rope_theta: 5e6 }, 3075098624],
  ['Gemma 2B', 'Gemma', { ...sizes(2048, 16384, 18, 8, 1, 256000), head_dim: 256, hidden_act: 'gelu' }, 2506172416],
  [
    'Gemma 2 2B',
    'Gemma2',
    {
      ...sizes(2304, 9216, 26, 8, 4, 256000),
      head_dim: 256,
      attn_logit_softcapping: 50,
      final_logit_softcapping: 30,
      query_pre_attn_scalar: 256,
    },
    2614341888,
  ],
  [
    'Gemma 3 1B',
    'Gemma3',
    {
      ...sizes(1152, 6912, 26, 4, 1, 262144),
      head_dim: 256,
      sliding_window: 512,
      sliding_window_pattern: 6,
      rope_local_base_freq: 10000,
      rope_scaling: null,
      attn_logit_softcapping: null,
    },
    999885952,
  ],
];

test.each(published)('%s has as many parameters as its publisher says', (_, architecture, fields, parameters) => {
  const graph = graphOf({ architectures: [`${architecture}ForCausalLM`], ...fields }, 'config.json');
  const sum = graph.weights.reduce((total, { shape }) => total + shape.reduce((product, n) => product * n, 1), 0);
  expect(sum).toBe(parameters);
});
