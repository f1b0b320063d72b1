import { expect, test } from 'vitest';
import { ModelError } from '../../../src/errors.ts';
import type { Graph } from '../../../src/graph/graph.ts';
import { inputsOf } from '../../../src/graph/inputs.ts';
import { ReferenceRun } from '../../../src/graph/reference.ts';
import { cutGraph, headGraph, type Segment, segmentGraph } from '../../../src/graph/segments.ts';
import { graphOf } from '../../../src/models/families.ts';
import { randomSource } from '../../gpu/random.ts';

const config = (architecture: string, fields: object = {}) => ({
  architectures: [`${architecture}ForCausalLM`],
  hidden_size: 8,
  intermediate_size: 12,
  num_hidden_layers: 3,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  head_dim: 4,
  vocab_size: 11,
  max_position_embeddings: 16,
  ...fields,
});
const graphs: [string, Graph][] = [
  ['Llama', {}],
  ['Llama', { tie_word_embeddings: true, attention_bias: true, mlp_bias: true }],
  ['Gemma2', { sliding_window: 2, query_pre_attn_scalar: 12, final_logit_softcapping: 3 }],
  ['Gemma3', { sliding_window: 2, sliding_window_pattern: 2 }],
  ['Qwen3', { tie_word_embeddings: true }],
].map(([name, fields]) => [name as string, graphOf(config(name as string, fields as object), 'config.json')]);

const length = ({ from, to }: Segment) => to - from;

test('the whole: embedding, each layer, what follows, and the head', () => {
  const [, graph] = graphs[0]!;
  const segments = cutGraph(graph);
  expect(segments.map(({ kind, layer }) => [kind, layer])).toEqual([
    ['embedding', null],
    ['block', 0],
    ['block', 1],
    ['block', 2],
    ['block', null],
    ['head', null],
  ]);
  expect(segments[2]).toMatchObject({ inputs: ['layers.0.out'], outputs: ['layers.1.out'], live: ['layers.1.out'] });
  expect(segments.at(-1)).toMatchObject({ inputs: ['norm'], outputs: ['logits'] });
  expect(segmentGraph(graph, segments[2]!).weights.every(({ layer }) => layer === 1)).toBe(true);
});

test('a layer that does not fit is cut between operations, each time as late as it may be', () => {
  const [, graph] = graphs[0]!;
  const segments = cutGraph(graph, (segment) => length(segment) <= 4);
  const layers = segments.filter(({ layer }) => layer === 1);
  const [from, to] = graph.layerRanges[1]!;
  expect(layers.map(length)).toEqual([4, 4, 4, (to - from) % 4].filter((count) => count > 0));
  // What the attention reads, and the residual, which goes past it.
  expect(layers[0]).toMatchObject({ outputs: ['layers.1.attention-norm', 'layers.1.q-rotated', 'layers.1.k'] });
  expect([...layers[0]!.live].sort()).toEqual(
    ['layers.0.out', 'layers.1.attention-norm', 'layers.1.k', 'layers.1.q-rotated'].sort(),
  );
  // Nothing fits: then every operation stands alone.
  expect(cutGraph(graph, () => false)).toHaveLength(graph.operations.length);
});

test('a graph that ends otherwise is refused', () => {
  const [, graph] = graphs[0]!;
  expect(() => cutGraph({ ...graph, operations: graph.operations.slice(0, -1) })).toThrow(ModelError);
});

test.each(graphs)('%s: segments at random cuts compute what the whole does', (_, graph) => {
  const random = randomSource(graph.operations.length);
  const weights = new Map(
    graph.weights.map(({ name, shape }) => [
      name,
      Float64Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => random() - 0.5),
    ]),
  );
  const tokens = [3, 1, 4, 1, 5];
  const whole = new ReferenceRun(graph, (name) => weights.get(name)!).forward(tokens);
  for (let round = 0; round < 20; round++) {
    const most = 1 + Math.floor(6 * random());
    const segments = cutGraph(graph, (segment) => length(segment) <= most);
    expect(segments.map(length).reduce((a, b) => a + b)).toBe(graph.operations.length);
    let values = new Map<string, Float64Array>();
    for (const segment of segments) {
      const own = segmentGraph(graph, segment);
      const made = new Map(values);
      // A weight of another segment is not there.
      const given = (name: string) => {
        expect(own.weights.map((weight) => weight.name)).toContain(name);
        return weights.get(name)!;
      };
      expect([...values.keys()]).toEqual(expect.arrayContaining([...segment.inputs]));
      new ReferenceRun(own, given).forward(tokens, {
        inputs: new Map(segment.inputs.map((name) => [name, values.get(name)!])),
        onValue: (_index, name, value) => made.set(name, value),
      });
      for (const name of segment.outputs) expect(made.has(name)).toBe(true);
      values = new Map([...made].filter(([name]) => segment.live.includes(name)));
      const readLater = graph.operations.slice(segment.to).flatMap(inputsOf);
      for (const name of values.keys()) if (name !== graph.logits) expect(readLater).toContain(name);
    }
    expect(values.get(graph.logits)).toEqual(whole);
  }
});

test('the head as a graph of some rows', () => {
  const [, graph] = graphs[2]!;
  const head = headGraph(graph, 5);
  expect(head.operations).toHaveLength(1);
  expect(head.values[head.logits]).toBe(5);
  expect(head.weights).toHaveLength(1);
});
