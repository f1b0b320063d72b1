import { describe, expect, test } from 'vitest';
import { ModelError } from '../../../src/errors.ts';
import { inputsOf } from '../../../src/graph/inputs.ts';
import { checkTensors } from '../../../src/models/check-tensors.ts';
import { graphOf } from '../../../src/models/families.ts';
import { SHAPES_1B, stackGraph } from '../../../src/models/stack.ts';

const small = {
  architectures: ['LlamaForCausalLM'],
  hidden_size: 12,
  intermediate_size: 20,
  num_hidden_layers: 2,
  num_attention_heads: 6,
  vocab_size: 9,
};
const LLAMA3 = {
  rope_type: 'llama3',
  factor: 8,
  low_freq_factor: 1,
  high_freq_factor: 4,
  original_max_position_embeddings: 64,
};
const refusal = (config: unknown): string => {
  try {
    graphOf(config, 'some/config.json');
  } catch (error) {
    expect(error).toBeInstanceOf(ModelError);
    return (error as Error).message;
  }
  return 'accepted';
};

describe('config.json', () => {
  test('what is left out is as Hugging Face has it', () => {
    const graph = graphOf(small, 'config.json');
    expect(graph).toMatchObject({ layers: 2, vocabulary: 9, maxPositions: 2048 });
    const of = (op: string) => graph.operations.filter((operation) => operation.op === op);
    expect(of('rms-norm')).toHaveLength(5);
    for (const norm of of('rms-norm')) expect(norm).toMatchObject({ epsilon: 1e-6 });
    for (const attention of of('attention')) {
      expect(attention).toMatchObject({ heads: 6, kvHeads: 6, headDim: 2, scale: 1 / Math.sqrt(2) });
      expect(attention).not.toHaveProperty('window');
    }
    expect(graph.weights.filter(({ role }) => role === 'bias')).toEqual([]);
    expect(graph.weights.filter(({ role }) => role === 'head')).toHaveLength(1);
  });

  test('rotary settings are read where Transformers 4 and 5 write them', () => {
    const slowest = (fields: object) => {
      const turn = graphOf({ ...small, head_dim: 4, ...fields }, 'config.json').operations.find(
        (o) => o.op === 'rotary',
      );
      return turn?.op === 'rotary' ? turn.rotary.inverseFrequencies[1] : undefined;
    };
    // Of two pairs, the second turns by 1/√theta.
    expect(slowest({})).toBeCloseTo(1 / 100, 15);
    expect(slowest({ rope_theta: 250000, rope_scaling: null })).toBeCloseTo(1 / 500, 15);
    expect(slowest({ rope_parameters: { rope_type: 'default', rope_theta: 40000 } })).toBeCloseTo(1 / 200, 15);
    expect(slowest({ rope_scaling: { type: 'linear', factor: 4 } })).toBeCloseTo(1 / 400, 15);
  });

  const bad: [string, Record<string, unknown>, string][] = [
    ['no layers', { num_hidden_layers: 0 }, 'num_hidden_layers must be a whole number from 1 to 1024 (found 0)'],
    ['absurdly many layers', { num_hidden_layers: 1e9 }, 'num_hidden_layers must be'],
    ['no heads', { num_attention_heads: 0 }, 'num_attention_heads must be'],
    ['a fraction', { hidden_size: 12.5 }, 'hidden_size must be a whole number'],
    ['a string', { vocab_size: '9' }, 'vocab_size must be a whole number from 1 to 16777216 (found "9")'],
    ['a missing size', { vocab_size: undefined }, 'vocab_size is missing'],
    ['heads that do not group', { num_key_value_heads: 4 }, 'num_key_value_heads 4 does not divide'],
    ['heads that do not divide the width', { num_attention_heads: 5 }, 'does not divide hidden_size 12'],
    ['an odd head', { head_dim: 3 }, 'head_dim 3 is odd'],
    ['epsilon of zero', { rms_norm_eps: 0 }, 'rms_norm_eps must be a number above 0'],
    ['infinite theta', { rope_theta: Number.POSITIVE_INFINITY }, 'rope_theta must be'],
    ['another activation', { hidden_act: 'gelu' }, 'hidden_act is an activation that is not supported'],
    ['unknown scaling', { rope_scaling: { rope_type: 'longrope' } }, 'rope_scaling.rope_type is a position scaling'],
    [
      'scaling without its factor',
      { rope_scaling: { type: 'linear' } },
      '"linear" scaling of positions needs a factor',
    ],
    ['bands in disorder', { rope_scaling: { ...LLAMA3, low_freq_factor: 4 } }, 'low_freq_factor 4 is not below'],
    ['theta that YaRN divides by', { rope_theta: 1, rope_scaling: { type: 'yarn', factor: 2 } }, 'no finite freq'],
    ['rotary embedding of a part of each head', { partial_rotary_factor: 0.5 }, 'partial_rotary_factor must be 1'],
    ['scaling of a wrong type', { rope_scaling: 7 }, 'rope_scaling must be an object'],
    ['a flag that is none', { tie_word_embeddings: 'yes' }, 'tie_word_embeddings must be true or false'],
  ];
  test.each(bad)('%s', (_, fields, words) => {
    const message = refusal({ ...small, ...fields });
    expect(message).toContain(`some/config.json: `);
    expect(message).toContain(words);
  });

  test('an unknown architecture is named, with what is supported', () => {
    expect(refusal({ ...small, architectures: ['LlamaForCasualLM'] })).toMatchInlineSnapshot(
      `"some/config.json: architecture "LlamaForCasualLM" is not supported. Did you mean "LlamaForCausalLM"? Supported: LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM, SmolLM3ForCausalLM, GemmaForCausalLM, Gemma2ForCausalLM, Gemma3ForCausalLM. Matrices of other models can still be compressed: give the .safetensors file itself instead of the folder."`,
    );
    expect(refusal({ ...small, architectures: ['ResNet'] })).not.toContain('Did you mean');
    for (const config of [null, 7, {}, { architectures: [] }, { architectures: 'x' }]) {
      expect(refusal(config)).toContain('"architectures" is missing');
    }
  });
});

describe('the graph of a Llama', () => {
  const biased = graphOf({ ...small, attention_bias: true, mlp_bias: true, num_key_value_heads: 2 }, 'config.json');
  const weight = (name: string) => biased.weights.find((candidate) => candidate.name === name);

  test('has the weights of the checkpoint with shape, role and layer', () => {
    expect(weight('model.embed_tokens.weight')).toEqual({
      name: 'model.embed_tokens.weight',
      shape: [9, 12],
      role: 'embedding',
    });
    expect(weight('lm_head.weight')).toMatchObject({ shape: [9, 12], role: 'head' });
    expect(weight('model.layers.1.self_attn.k_proj.weight')).toMatchObject({
      shape: [4, 12],
      role: 'linear',
      layer: 1,
    });
    expect(weight('model.layers.0.self_attn.v_proj.bias')).toMatchObject({ shape: [4], role: 'bias', layer: 0 });
    expect(weight('model.layers.0.mlp.down_proj.weight')).toMatchObject({ shape: [12, 20], role: 'linear' });
    expect(biased.weights.length).toBe(3 + 2 * (2 + 7 + 7));
  });

  test('ties the head to the embedding where the config says so', () => {
    const tied = graphOf({ ...small, tie_word_embeddings: true }, 'config.json');
    expect(tied.operations.at(-1)).toMatchObject({ op: 'linear', weight: 'model.embed_tokens.weight', out: 'logits' });
    expect(tied.weights.filter((w) => w.role === 'head')).toEqual([]);
  });

  test('every value is written once, before it is read; layers cover everything between embedding and last norm', () => {
    const written = new Set<string>();
    for (const operation of biased.operations) {
      for (const name of inputsOf(operation)) expect(written).toContain(name);
      expect(written).not.toContain(operation.out);
      written.add(operation.out);
    }
    expect([...written].sort()).toEqual(Object.keys(biased.values).sort());
    const end = biased.operations.length - 2;
    expect(biased.layerRanges).toEqual([
      [1, 1 + (end - 1) / 2],
      [1 + (end - 1) / 2, end],
    ]);
  });

  test('a synthetic stack has the shapes that it was asked for', () => {
    const stack = stackGraph({ ...SHAPES_1B, layers: 2, vocabulary: 4096 });
    expect(stack.layers).toBe(2);
    const linear = stack.weights.filter((w) => w.role === 'linear' && w.layer === 1).map((w) => w.shape);
    expect(linear).toEqual([
      [2048, 2048],
      [512, 2048],
      [512, 2048],
      [2048, 2048],
      [8192, 2048],
      [8192, 2048],
      [2048, 8192],
    ]);
  });

  describe('checkTensors', () => {
    const infos = () => new Map(biased.weights.map(({ name, shape }) => [name, { shape }]));

    test('accepts what the graph asks for, and more', () => {
      expect(() => checkTensors(biased, infos().set('extra', { shape: [1] }))).not.toThrow();
    });

    test('names a missing tensor and the nearest that is there', () => {
      const renamed = infos();
      renamed.delete('model.norm.weight');
      renamed.set('model.norm_f.weight', { shape: [12] });
      expect(() => checkTensors(biased, renamed, 'x.safetensors')).toThrowErrorMatchingInlineSnapshot(
        `[ModelError: x.safetensors has no tensor "model.norm.weight" ([12]), which its config asks for. Did you mean "model.norm_f.weight"? Is a part of the checkpoint missing?]`,
      );
    });

    test('names a tensor of another shape', () => {
      const reshaped = infos().set('model.norm.weight', { shape: [12, 1] });
      expect(() => checkTensors(biased, reshaped, 'x.safetensors')).toThrowErrorMatchingInlineSnapshot(
        `[ModelError: x.safetensors: tensor "model.norm.weight" is [12, 1] but its config asks for [12]. Use the config.json that belongs to this checkpoint.]`,
      );
    });

    test('says what a missing head may mean', () => {
      const headless = infos();
      headless.delete('lm_head.weight');
      expect(() => checkTensors(biased, headless)).toThrow('"tie_word_embeddings": true');
    });
  });
});
