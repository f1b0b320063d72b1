import { describe, expect, test } from 'vitest';
import { ModelError } from '../../../src/errors.ts';
import type { Graph, Operation } from '../../../src/graph/graph.ts';
import { graphOf } from '../../../src/models/families.ts';

const sizes = {
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 6,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 8,
  vocab_size: 10,
  max_position_embeddings: 64,
};
const build = (architecture: string, fields: object = {}): Graph =>
  graphOf({ architectures: [`${architecture}ForCausalLM`], ...sizes, ...fields }, 'config.json');

type Attention = Operation & { op: 'attention' };
const attentions = (graph: Graph) => graph.operations.filter((o): o is Attention => o.op === 'attention');
const windows = (graph: Graph) => attentions(graph).map(({ window }) => window);
const names = (graph: Graph, layer: number) =>
  graph.weights.filter((w) => w.layer === layer).map((w) => w.name.replace(`model.layers.${layer}.`, ''));
/** How the value was made, latest first: the names of operations on the way back through `x`. */
function history(graph: Graph, name: string): string[] {
  const operation = graph.operations.find((o) => o.out === name)!;
  return operation.op === 'rotary' || operation.op === 'rms-norm' || operation.op === 'linear'
    ? [operation.op, ...history(graph, operation.x)]
    : [operation.op];
}
/** Turning of the second pair of each layer; undefined where a layer does not turn. */
const secondPairs = (graph: Graph) =>
  attentions(graph).map(({ q }) => {
    const made = graph.operations.find((o) => o.out === q)!;
    return made.op === 'rotary' ? made.rotary.inverseFrequencies[1] : undefined;
  });

const none = Array(6).fill(undefined);

test('Mistral: a window on every layer, none where it is null, 4096 where nothing is said', () => {
  expect(windows(build('Mistral', { sliding_window: 32 }))).toEqual(Array(6).fill(32));
  expect(windows(build('Mistral', { sliding_window: null }))).toEqual(none);
  expect(windows(build('Mistral'))).toEqual(Array(6).fill(4096));
  expect(build('Mistral').weights.filter((w) => w.role === 'bias')).toEqual([]);
});

describe('Qwen', () => {
  test('2: biases on queries, keys and values only', () => {
    const biases = names(build('Qwen2'), 0).filter((name) => name.endsWith('bias'));
    expect(biases).toEqual(['self_attn.q_proj.bias', 'self_attn.k_proj.bias', 'self_attn.v_proj.bias']);
  });

  test('2: a window only where it is switched on, from max_window_layers up, or by the list', () => {
    expect(windows(build('Qwen2', { sliding_window: 32 }))).toEqual(none);
    const on = { sliding_window: 32, use_sliding_window: true };
    const from4 = [undefined, undefined, undefined, undefined, 32, 32];
    expect(windows(build('Qwen2', { ...on, max_window_layers: 4 }))).toEqual(from4);
    expect(windows(build('Qwen2', on))).toEqual(none);
    const types = ['sliding_attention', ...Array(5).fill('full_attention')];
    expect(windows(build('Qwen2', { ...on, layer_types: types }))).toEqual([32, ...none.slice(1)]);
  });

  test('3: each head is normalized between its projection and its turn, by one weight for all heads', () => {
    const graph = build('Qwen3');
    const [{ q, k, v }] = attentions(graph) as [Attention];
    expect(history(graph, q).slice(0, 3)).toEqual(['rotary', 'rms-norm', 'linear']);
    expect(history(graph, k).slice(0, 3)).toEqual(['rotary', 'rms-norm', 'linear']);
    expect(history(graph, v)[0]).toBe('linear');
    const norms = graph.weights.filter((w) => w.layer === 0 && /[qk]_norm/.test(w.name));
    expect(norms).toEqual([
      { name: 'model.layers.0.self_attn.q_norm.weight', shape: [8], role: 'norm', layer: 0 },
      { name: 'model.layers.0.self_attn.k_norm.weight', shape: [8], role: 'norm', layer: 0 },
    ]);
    expect(names(graph, 0).filter((name) => name.endsWith('bias'))).toEqual([]);
    expect(names(build('Qwen3', { attention_bias: true }), 0).filter((name) => name.endsWith('bias'))).toHaveLength(4);
    expect(attentions(build('Qwen3', { head_dim: undefined }))[0]).toMatchObject({ headDim: 128 });
  });
});

test('SmolLM3: every fourth layer does not turn, or those with a 0 in the list', () => {
  const turns = (graph: Graph) => secondPairs(graph).map((pair) => pair !== undefined);
  expect(turns(build('SmolLM3'))).toEqual([true, true, true, false, true, true]);
  const listed = { no_rope_layers: [0, 1, 1, 1, 1, 0] };
  expect(turns(build('SmolLM3', listed))).toEqual([false, true, true, true, true, false]);
  const graph = build('SmolLM3', listed);
  expect(attentions(graph)[0]).toMatchObject({ q: 'layers.0.q', k: 'layers.0.k', scale: 1 / Math.sqrt(8) });
  expect(graph.weights.filter(({ role }) => role === 'head')).toEqual([]);
});

describe('Gemma', () => {
  test('1: embeddings times √hidden, norms around 1, GELU gates, tied head, heads as wide as they like', () => {
    const graph = build('Gemma', { head_dim: undefined, hidden_act: 'gelu' });
    expect(graph.operations[0]).toMatchObject({ op: 'embedding', scale: 4 });
    const norms = graph.operations.filter((o) => o.op === 'rms-norm');
    expect(norms).toHaveLength(13);
    for (const norm of norms) expect(norm).toMatchObject({ offset: 1 });
    expect(graph.operations.filter((o) => o.op === 'gelu-mul')).toHaveLength(6);
    expect(graph.weights.find((w) => w.name.endsWith('0.self_attn.q_proj.weight'))?.shape).toEqual([1024, 16]);
    expect(graph.operations.at(-1)).toMatchObject({ op: 'linear', weight: 'model.embed_tokens.weight' });
    expect(graph.operations.at(-1)).not.toHaveProperty('softCap');
  });

  test('2: norms on both sides, caps, windows on layers 0, 2, 4', () => {
    const graph = build('Gemma2', { sliding_window: 32, query_pre_attn_scalar: 64 });
    expect(windows(graph)).toEqual([32, undefined, 32, undefined, 32, undefined]);
    for (const attention of attentions(graph)) expect(attention).toMatchObject({ softCap: 50, scale: 1 / 8 });
    expect(graph.operations.at(-1)).toMatchObject({ op: 'linear', softCap: 30 });
    // Attention: normalized before and behind; FFN the same, each by its own weight.
    const written = (out: string) => graph.operations.find((o) => o.out === `layers.1.${out}`);
    const weight = (name: string) => `model.layers.1.${name}_layernorm.weight`;
    expect(written('attention-norm')).toMatchObject({ x: 'layers.0.out', weight: weight('input') });
    expect(written('o-norm')).toMatchObject({ x: 'layers.1.o', weight: weight('post_attention') });
    expect(written('middle')).toMatchObject({ a: 'layers.0.out', b: 'layers.1.o-norm' });
    expect(written('ffn-norm')).toMatchObject({ x: 'layers.1.middle', weight: weight('pre_feedforward') });
    expect(written('down-norm')).toMatchObject({ x: 'layers.1.down', weight: weight('post_feedforward') });
    expect(written('out')).toMatchObject({ a: 'layers.1.middle', b: 'layers.1.down-norm' });
    const uncapped = build('Gemma2', { attn_logit_softcapping: null, final_logit_softcapping: null });
    for (const operation of uncapped.operations) expect(operation).not.toHaveProperty('softCap');
  });

  test('3: five layers with a window and short waves, then one with neither', () => {
    // Of the four pairs of a head of 8, the second turns by theta^(-1/4).
    const [local, whole] = [10000 ** -0.25, 81e4 ** -0.25];
    const graph = build('Gemma3', {
      sliding_window: 32,
      rope_theta: 81e4,
      rope_scaling: { type: 'linear', factor: 8 },
    });
    expect(windows(graph)).toEqual([32, 32, 32, 32, 32, undefined]);
    expect(secondPairs(graph)).toEqual([...Array(5).fill(local), whole / 8]);
    const [{ q }] = attentions(graph) as [Attention];
    expect(history(graph, q).slice(0, 3)).toEqual(['rotary', 'rms-norm', 'linear']);
    for (const operation of graph.operations) expect(operation).not.toHaveProperty('softCap');

    const newer = build('Gemma3', {
      layer_types: ['full_attention', ...Array(5).fill('sliding_attention')],
      rope_parameters: {
        full_attention: { rope_type: 'default', rope_theta: 81e4 },
        sliding_attention: { rope_type: 'default', rope_theta: 1e4 },
      },
    });
    expect(secondPairs(newer)).toEqual([whole, ...Array(5).fill(local)]);
  });
});

test("YaRN's factor counts twice in the scale: once for queries, once for keys", () => {
  const [attention] = attentions(build('Qwen2', { rope_scaling: { type: 'yarn', factor: 4, attention_factor: 3 } }));
  expect(attention?.scale).toBeCloseTo(9 / Math.sqrt(8), 14);
});

describe('configs that make no sense, or ask for what is not there', () => {
  const bad: [string, string, object, string][] = [
    ['a window of nothing', 'Mistral', { sliding_window: 0 }, 'sliding_window must be a whole number from 1'],
    [
      'too short a list',
      'Qwen2',
      { layer_types: ['full_attention'] },
      'layer_types has 1 entries for num_hidden_layers 6',
    ],
    ['another kind of layer', 'Qwen3', { layer_types: Array(6).fill('chunked_attention') }, 'layer_types.0 is a kind'],
    ['too few layers that turn', 'SmolLM3', { no_rope_layers: [1] }, 'no_rope_layers has 1 entries'],
    [
      'another gate',
      'Gemma',
      { hidden_activation: 'relu' },
      'hidden_activation is an activation that is not supported',
    ],
    ['a cap of nothing', 'Gemma2', { attn_logit_softcapping: 0 }, 'attn_logit_softcapping must be a number above'],
    ['sight ahead', 'Gemma3', { use_bidirectional_attention: true }, 'use_bidirectional_attention must be false'],
    [
      'waves of a wrong type',
      'Gemma3',
      { rope_parameters: { full_attention: 7 } },
      'rope_parameters must be an object',
    ],
  ];
  test.each(bad)('%s', (_, architecture, fields, words) => {
    expect(() => build(architecture, fields)).toThrow(ModelError);
    expect(() => build(architecture, fields)).toThrow(words);
  });
});
