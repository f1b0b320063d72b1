import { describe, expect, test } from 'vitest';
import { ArgumentError } from '../../../src/errors.ts';
import type { Graph, Operation } from '../../../src/graph/graph.ts';
import { ReferenceRun } from '../../../src/graph/reference.ts';
import { findScaleFolding, findScaleFoldings, foldScales } from '../../../src/graph/scale-folding.ts';
import { graphOf } from '../../../src/models/families.ts';
import { columnMaxima, smooth, smoothingFactors } from '../../../src/passes/methods/smooth-quant.ts';
import { randomSource } from '../../gpu/random.ts';

const sizes = {
  hidden_size: 48,
  intermediate_size: 80,
  num_hidden_layers: 2,
  num_attention_heads: 6,
  num_key_value_heads: 2,
  head_dim: 16,
  vocab_size: 97,
  max_position_embeddings: 64,
};

const models: [string, string, object][] = [
  ['Llama with biases and a head of its own', 'Llama', { attention_bias: true, mlp_bias: true }],
  ['Llama, tied', 'Llama', { tie_word_embeddings: true }],
  ['Llama of odd sizes', 'Llama', { hidden_size: 30, head_dim: 10, num_attention_heads: 5, num_key_value_heads: 1 }],
  ['Llama of one head a group', 'Llama', { num_attention_heads: 3, num_key_value_heads: 3 }],
  ['Mistral', 'Mistral', { sliding_window: 5 }],
  ['Qwen 2', 'Qwen2', {}],
  ['Qwen 3', 'Qwen3', { tie_word_embeddings: true }],
  ['SmolLM 3', 'SmolLM3', { no_rope_layers: [1, 0] }],
  ['Gemma 1', 'Gemma', { num_key_value_heads: 1 }],
  ['Gemma 2', 'Gemma2', { sliding_window: 5, query_pre_attn_scalar: 12, attn_logit_softcapping: 2 }],
  ['Gemma 3', 'Gemma3', { sliding_window: 5, sliding_window_pattern: 2 }],
];
const graphFor = (architecture: string, fields: object) =>
  graphOf({ architectures: [`${architecture}ForCausalLM`], ...sizes, ...fields }, 'config.json');

function randomValues(graph: Graph, seed: number): Map<string, Float32Array> {
  const next = randomSource(seed);
  const gaussian = () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
  return new Map(
    graph.weights.map(({ name, shape, role }) => {
      const count = shape.reduce((product, n) => product * n, 1);
      const scale =
        role === 'norm' || role === 'bias' ? 0.3 : 1.5 / Math.sqrt(role === 'embedding' ? 1 : shape.at(-1)!);
      return [name, Float32Array.from({ length: count }, () => (role === 'norm' ? 1 : 0) + scale * gaussian())];
    }),
  );
}

const tokens = Array.from({ length: 12 }, (_, i) => (i * 37 + 5) % 97);

function logits(graph: Graph, values: ReadonlyMap<string, Float32Array>): Float64Array {
  return new ReferenceRun(graph, (name) => values.get(name)!).forward(tokens);
}

/** Largest difference, relative to the largest value. */
function difference(a: Float64Array, b: Float64Array): number {
  const largest = a.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  return a.reduce((most, x, i) => Math.max(most, Number.isFinite(b[i]!) ? Math.abs(x - b[i]!) : Infinity), 0) / largest;
}

describe.each(models)('%s', (_, architecture, fields) => {
  const graph = graphFor(architecture, fields);
  const foldings = findScaleFoldings(graph);

  test('the input of every matrix but a tied head can be scaled', () => {
    const linear = graph.operations.filter((operation) => operation.op === 'linear');
    const uses = (name: string) => graph.operations.filter((one) => 'weight' in one && one.weight === name).length;
    const untied = linear.filter(({ weight }) => uses(weight) === 1).map(({ weight }) => weight);
    expect(foldings.flatMap(({ matrices }) => matrices).sort()).toEqual([...untied].sort());
    const kinds = foldings.slice(0, 4).map(({ input, into }) => [input, into.kind, into.weight]);
    expect(kinds).toEqual([
      ['layers.0.attention-norm', 'norm', 'model.layers.0.input_layernorm.weight'],
      ['layers.0.attention', 'rows', 'model.layers.0.self_attn.v_proj.weight'],
      ['layers.0.ffn-norm', 'norm', expect.stringContaining('layernorm.weight')],
      ['layers.0.activated', 'rows', 'model.layers.0.mlp.up_proj.weight'],
    ]);
  });

  test('moving random factors everywhere leaves the logits as they are, and each part of it is needed', () => {
    const values = randomValues(graph, 5);
    const before = logits(graph, values);
    const next = randomSource(9);
    const now = new Map(values);
    for (const folding of foldings) {
      const factors = Float32Array.from({ length: folding.channels }, () => 4 ** (2 * next() - 1));
      for (const [name, folded] of foldScales(folding, factors, (weight) => now.get(weight)!)) now.set(name, folded);
    }
    // Weights are rounded to f32 up to three times.
    expect(difference(before, logits(graph, now))).toBeLessThan(1e-5);
    for (const { into, matrices } of foldings.slice(0, 4)) {
      for (const name of [into.weight, matrices.at(-1)!, ...(into.kind === 'rows' && into.bias ? [into.bias] : [])]) {
        const partly = new Map(now).set(name, values.get(name)!);
        expect(difference(before, logits(graph, partly)), name).toBeGreaterThan(1e-3);
      }
    }
  });

  test('smoothing leaves the logits as they are and evens out the ranges', () => {
    const values = randomValues(graph, 6);
    const before = logits(graph, values);
    const seen = maximaOf(graph, values);
    const now = new Map([
      ...values,
      ...smooth(
        graph,
        (name) => values.get(name)!,
        (input) => seen.get(input),
      ),
    ]);
    expect(difference(before, logits(graph, now))).toBeLessThan(1e-5);
    const after = maximaOf(graph, now);
    for (const { input, matrices, channels, channelOf } of foldings) {
      if (channels < channelOf.length) continue;
      // With α = 1/2 activations and weights of a channel have the same range.
      const columns = columnMaxima(
        matrices.map((name) => now.get(name)!),
        channelOf.length,
      );
      for (const [i, most] of after.get(input)!.entries()) {
        if (most > 0) expect(most / columns[i]!, `${input} ${i}`).toBeCloseTo(1, 3);
      }
    }
  });
});

/** Largest magnitude of each channel of each value. */
function maximaOf(graph: Graph, values: ReadonlyMap<string, Float32Array>): Map<string, Float32Array> {
  const maxima = new Map<string, Float32Array>();
  new ReferenceRun(graph, (name) => values.get(name)!).forward(tokens, {
    onValue: (_, name, value) => {
      const width = graph.values[name]!;
      const most = new Float32Array(width);
      for (const [i, x] of value.entries()) most[i % width] = Math.max(most[i % width]!, Math.abs(x));
      maxima.set(name, most);
    },
  });
  return maxima;
}

test('query heads that share a key head share factors', () => {
  const folding = findScaleFolding(graphFor('Llama', {}), 'layers.1.attention')!;
  expect(folding.channels).toBe(32);
  expect(folding.channelOf).toHaveLength(96);
  expect([0, 15, 16, 47, 48, 95].map((channel) => folding.channelOf[channel])).toEqual([0, 15, 0, 15, 16, 31]);
  expect(folding.through).toHaveLength(1);
});

describe('where nothing can be moved', () => {
  const graph = graphFor('Llama', { tie_word_embeddings: true });
  const replaced = (match: (operation: Operation) => boolean, by: (operation: Operation) => Operation): Graph => ({
    ...graph,
    operations: graph.operations.map((operation) => (match(operation) ? by(operation) : operation)),
  });

  test.each([
    ['the logits', graph, 'logits'],
    ['a tied head', graph, 'norm'],
    ['a value that operations other than matrices read', graph, 'layers.0.out'],
    ['a value that is not there', graph, 'nothing'],
    [
      'a norm whose weight another shares',
      replaced(
        (operation) => operation.op === 'rms-norm',
        (operation) => ({ ...operation, weight: 'model.norm.weight' }) as Operation,
      ),
      'layers.0.ffn-norm',
    ],
    [
      'values that attention reads as keys, too',
      replaced(
        ({ op }) => op === 'attention',
        (operation) => ({ ...operation, k: (operation as Operation & { op: 'attention' }).v }) as Operation,
      ),
      'layers.0.attention',
    ],
    [
      'a matrix whose results are bounded',
      replaced(
        ({ out }) => out === 'layers.0.up',
        (operation) => ({ ...operation, softCap: 3 }) as Operation,
      ),
      'layers.0.activated',
    ],
    [
      'an activation of itself',
      replaced(
        ({ op }) => op === 'silu-mul',
        (operation) => ({ ...operation, gate: (operation as Operation & { op: 'silu-mul' }).up }) as Operation,
      ),
      'layers.0.activated',
    ],
  ])('%s', (_, given, value) => {
    expect(findScaleFolding(given, value)).toBeUndefined();
  });
});

describe('SmoothQuant', () => {
  const folding = findScaleFolding(graphFor('Llama', { hidden_size: 4 }), 'layers.0.attention-norm')!;

  test('factors by hand', () => {
    const [x, w] = [Float32Array.of(16, 1, 0, 3), Float32Array.of(1, 4, 2, 0)];
    expect([...smoothingFactors(folding, x, w)]).toEqual([4, 0.5, 1, 1]);
    expect([...smoothingFactors(folding, x, w, { alpha: 1 })]).toEqual([16, 1, 1, 1]);
    expect([...smoothingFactors(folding, x, w, { alpha: 0 })]).toEqual([1, 0.25, 1, 1]);
    const huge = smoothingFactors(folding, Float32Array.of(3e38, 1e-45, 1, 1), Float32Array.of(1e-30, 3e38, 1, 1));
    expect([...huge]).toEqual([1e5, Math.fround(1e-5), 1, 1]);
  });

  test('names what it can’t use', () => {
    const good = new Float32Array(4).fill(1);
    expect(() => smoothingFactors(folding, good, good, { alpha: 1.5 })).toThrow(ArgumentError);
    expect(() => smoothingFactors(folding, good.subarray(1), good)).toThrow(/3 maxima of activations/);
    const bad = Float32Array.of(1, Number.NaN, 1, 1);
    expect(() => smoothingFactors(folding, bad, good)).toThrow(
      /activations in channel 1 of layers.0.attention-norm is NaN/,
    );
    expect(() =>
      smoothingFactors(
        folding,
        good,
        good.map(() => Number.POSITIVE_INFINITY),
      ),
    ).toThrow(ArgumentError);
  });
});
