import { describe, expect, test } from 'vitest';
import { ModelError } from '../../../src/errors.ts';
import { type Checkpoint, openCheckpoint } from '../../../src/files/checkpoint.ts';
import { encodeF16 } from '../../../src/files/convert.ts';
import { memoryFolder } from '../../../src/files/model-files.ts';
import { writeSafetensors } from '../../../src/files/safetensors-write.ts';
import { memorySink } from '../../../src/files/sink.ts';
import type { Graph } from '../../../src/graph/graph.ts';
import { ReferenceRun } from '../../../src/graph/reference.ts';
import { graphOf } from '../../../src/models/families.ts';
import { dequantizedWeights } from '../../../src/passes/load-weights.ts';
import { modelGraph } from '../../../src/passes/model-graph.ts';
import { residualStream } from '../../../src/passes/rotation/residual-stream.ts';
import { RotatedCheckpoint } from '../../../src/passes/rotation/rotated-checkpoint.ts';
import { filled, gaussian, generator } from '../../gpu/layers/bench.ts';

const VOCABULARY = 61;
const sizes = {
  hidden_size: 48,
  intermediate_size: 80,
  num_hidden_layers: 2,
  num_attention_heads: 6,
  num_key_value_heads: 2,
  head_dim: 16,
  vocab_size: VOCABULARY,
  max_position_embeddings: 64,
};

const models: [string, string, object][] = [
  ['Llama with biases and a head of its own', 'Llama', { attention_bias: true, mlp_bias: true }],
  ['Llama, tied', 'Llama', { tie_word_embeddings: true }],
  ['Llama of a hidden size of 80 and an FFN of 36', 'Llama', { hidden_size: 80, intermediate_size: 36 }],
  ['Mistral', 'Mistral', { sliding_window: 5, hidden_size: 30 }],
  ['Qwen 2', 'Qwen2', { hidden_size: 64 }],
  ['Qwen 3, tied', 'Qwen3', { tie_word_embeddings: true }],
  ['SmolLM 3', 'SmolLM3', { no_rope_layers: [1, 0] }],
  ['Gemma 1', 'Gemma', { num_key_value_heads: 1 }],
];
const configOf = (architecture: string, fields: object) => ({
  architectures: [`${architecture}ForCausalLM`],
  ...sizes,
  ...fields,
});

const tokens = Array.from({ length: 7 }, (_, i) => (i * 37 + 5) % VOCABULARY);

interface ModelOptions {
  readonly type?: 'F32' | 'F16';
  /** Columns of the embedding that are this many times as large. */
  readonly outliers?: Readonly<Record<number, number>>;
}

/** A model of random weights in memory. */
async function randomModel(config: object, { type = 'F32', outliers = {} }: ModelOptions = {}): Promise<Checkpoint> {
  const graph = graphOf(config, 'config.json');
  const next = generator(5);
  const sink = memorySink();
  const writer = await writeSafetensors(
    sink,
    graph.weights.map(({ name, shape }) => ({ name, shape, type })),
  );
  for (const { name, shape, role } of graph.weights) {
    const k = shape.at(-1)!;
    const spread = role === 'norm' || role === 'bias' ? 0.3 : role === 'embedding' ? 1 : 1.5 / Math.sqrt(k);
    const values = filled(
      shape.reduce((product, n) => product * n, 1),
      (i) => (role === 'norm' ? 1 : 0) + spread * gaussian(next) * (role === 'embedding' ? (outliers[i % k] ?? 1) : 1),
    );
    await writer.write(name, type === 'F16' ? encodeF16(values) : new Uint8Array(values.buffer));
  }
  await writer.finish();
  return openCheckpoint(
    memoryFolder('random', { 'config.json': JSON.stringify(config), 'model.safetensors': sink.bytes() }),
  );
}

/** Weights of a rotated model before they are rounded. */
async function foldedWeights(rotated: RotatedCheckpoint, graph: Graph): Promise<(name: string) => Float64Array> {
  const all = new Map<string, Float64Array>();
  for (const { name, shape } of graph.weights) {
    const values = new Float64Array(shape.reduce((product, n) => product * n, 1));
    await rotated.fold(name, 0, values);
    all.set(name, values);
  }
  return (name) => all.get(name)!;
}

/** The largest difference, relative to the largest value. */
function distance(a: Float64Array, b: Float64Array): number {
  const scale = a.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  expect(b.length).toBe(a.length);
  return a.reduce((most, x, i) => Math.max(most, Number.isFinite(b[i]!) ? Math.abs(x - b[i]!) : Infinity), 0) / scale;
}

describe('a rotated model computes the same', () => {
  for (const [name, architecture, fields] of models) {
    test.each([false, true])(`${name}, inner activations: %s`, async (inner) => {
      const original = await randomModel(configOf(architecture, fields));
      const graph = modelGraph(original);
      const wanted = new ReferenceRun(graph, await dequantizedWeights(original, graph)).forward(tokens);
      const rotated = new RotatedCheckpoint(original, graph, { seed: 7, inner });
      const turned = modelGraph(rotated);
      expect(turned.operations.filter(({ op }) => op === 'hadamard')).toHaveLength(inner ? 2 : 0);
      // In f64, but for the roundings of f64.
      const exact = new ReferenceRun(turned, await foldedWeights(rotated, turned)).forward(tokens);
      expect(distance(wanted, exact)).toBeLessThan(1e-9);
      // Each weight is rounded to f32 once, or twice where both of its sides turn, by 2^-24 of itself: sums of up to 96 through two layers stay a
      // hundred times below this.
      const values = await dequantizedWeights(rotated, turned);
      const rounded = new ReferenceRun(turned, values).forward(tokens);
      expect(distance(wanted, rounded)).toBeLessThan(1e-5);
      // The weights are others, all of them.
      const before = await dequantizedWeights(original, graph);
      for (const weight of graph.weights.filter(({ role }) => role === 'linear' || role === 'embedding')) {
        const [a, b] = [before, values].map((of) => Float64Array.from(of(weight.name)));
        expect(distance(a!, b!)).toBeGreaterThan(0.1);
      }
      for (const norm of turned.weights.filter(
        ({ role, shape }) => role === 'norm' && shape[0] === turned.values.embedding,
      )) {
        expect(new Set(values(norm.name))).toEqual(new Set([architecture === 'Gemma' ? 0 : 1]));
      }
    });
  }
});

test('rows are the same however they are read', async () => {
  const original = await randomModel(configOf('Llama', { mlp_bias: true, attention_bias: true }));
  const rotated = new RotatedCheckpoint(original, modelGraph(original), { seed: 3, inner: true });
  expect(rotated.block).toBe(16);
  for (const { name, shape } of rotated.tensors.values()) {
    const all = await rotated.read(name);
    const rowBytes = all.length / shape[0]!;
    for (const [start, count] of [
      [0, 1],
      [5, 20],
      [13, shape[0]! - 13],
      [17, 0],
      [31, 2],
      [15, 1],
    ] as const) {
      if (start + count > shape[0]!) continue;
      const part = await rotated.read(name, start, count);
      expect(part).toEqual(all.slice(start * rowBytes, (start + count) * rowBytes));
      // The caller's to change.
      part.fill(0);
    }
    expect(await rotated.read(name)).toEqual(all);
    await expect(rotated.read(name, shape[0]!, 1)).rejects.toThrow(/are not among them/);
  }
});

test('embedding and head keep their type, and a tied model gets a head', async () => {
  const original = await randomModel(configOf('Qwen3', { tie_word_embeddings: true }), { type: 'F16' });
  const rotated = new RotatedCheckpoint(original, modelGraph(original), { seed: 1 });
  const types = [...rotated.tensors.values()].map(({ name, type }) => [name, type]);
  expect(types.filter(([, type]) => type === 'F16').map(([name]) => name)).toEqual(
    expect.arrayContaining(['model.embed_tokens.weight', 'lm_head.weight', 'model.norm.weight']),
  );
  expect(types.filter(([, type]) => type === 'F32')).toHaveLength(2 * 7);
  expect(rotated.bytesBefore('lm_head.weight')).toBe(0);
  const config = JSON.parse(new TextDecoder().decode(await rotated.fileBytes('config.json')));
  expect(config).toEqual({ ...original.config, tie_word_embeddings: false });
  expect(rotated.config).toEqual(config);
  expect(rotated.tree.graph).toEqual({ rotation: { seed: 1, block: 16 } });
  const graph = modelGraph(rotated);
  expect(graph.weights.map(({ name }) => name)).toContain('lm_head.weight');
  const values = await dequantizedWeights(rotated, graph);
  const before = await dequantizedWeights(original, modelGraph(original));
  const wanted = new ReferenceRun(modelGraph(original), before).forward(tokens);
  // F16 rounds embedding and head by 2^-11 of each value.
  expect(distance(wanted, new ReferenceRun(graph, values).forward(tokens))).toBeLessThan(5e-3);
});

test('a seed gives its own signs, always the same', async () => {
  const original = await randomModel(configOf('Llama', {}));
  const read = (seed: number) =>
    new RotatedCheckpoint(original, modelGraph(original), { seed }).read('model.layers.1.mlp.down_proj.weight');
  expect(await read(1)).toEqual(await read(1));
  expect(await read(1)).not.toEqual(await read(2));
});

test('spreads columns of large values over all columns of a block', async () => {
  const config = configOf('Llama', { hidden_size: 64 });
  const original = await randomModel(config, { outliers: { 11: 60, 50: 40 } });
  const graph = modelGraph(original);
  const ratio = async (checkpoint: Checkpoint): Promise<number> => {
    const run = new ReferenceRun(graph, await dequantizedWeights(checkpoint, graph));
    let worst = 0;
    run.forward(tokens, {
      onValue: (_, name, value) => {
        // The stream behind a layer: the largest column's root mean square by that of all.
        if (!/^layers\.\d\.out$/.test(name)) return;
        const squares = new Float64Array(64);
        for (let i = 0; i < value.length; i++) squares[i % 64]! += value[i]! ** 2;
        const mean = squares.reduce((sum, x) => sum + x, 0) / 64;
        worst = Math.max(worst, Math.sqrt(Math.max(...squares) / mean));
      },
    });
    return worst;
  };
  const before = await ratio(original);
  const after = await ratio(new RotatedCheckpoint(original, graph, { seed: 1 }));
  // Two columns with all of the energy: at most √64 = 8 times the mean, and 1 where it is spread evenly.
  expect(before).toBeGreaterThan(5);
  expect(after).toBeLessThan(2.5);
});

describe('refuses', () => {
  test.each(['Gemma2', 'Gemma3'])('%s, whose norms act on what is added to the stream', async (architecture) => {
    const original = await randomModel(configOf(architecture, {}));
    const rotate = () => new RotatedCheckpoint(original, modelGraph(original), { seed: 1 });
    expect(rotate).toThrow(ModelError);
    expect(rotate).toThrow(
      /the scale of "model\.layers\.0\.post_attention_layernorm\.weight" acts on what is added to the residual stream/,
    );
  });

  test('an odd hidden or FFN size, a seed that is none', async () => {
    const odd = await randomModel(configOf('Llama', { hidden_size: 31, intermediate_size: 33 }));
    expect(() => new RotatedCheckpoint(odd, modelGraph(odd), { seed: 1 })).toThrow(/hidden size of 31 is odd/);
    const ffn = await randomModel(configOf('Llama', { intermediate_size: 33 }));
    expect(() => new RotatedCheckpoint(ffn, modelGraph(ffn), { seed: 1, inner: true })).toThrow(
      /FFN size of 33 is odd/,
    );
    for (const seed of [-1, 0.5, 2 ** 32, Number.NaN]) {
      expect(() => new RotatedCheckpoint(ffn, modelGraph(ffn), { seed })).toThrow(/seed of the rotation/);
    }
  });

  test('a model that is rotated already', async () => {
    const original = await randomModel(configOf('Llama', {}));
    const once = new RotatedCheckpoint(original, modelGraph(original), { seed: 1 });
    expect(() => new RotatedCheckpoint(once, modelGraph(once), { seed: 1 })).toThrow(/rotated already/);
  });

  test('weights that are not finite, by name and place', async () => {
    const original = await randomModel(configOf('Llama', {}));
    const bad: Checkpoint = {
      ...original,
      read: async (tensor, ...rest) => {
        const bytes = await original.read(tensor, ...rest);
        const name = typeof tensor === 'string' ? tensor : tensor.name;
        if (name.endsWith('1.mlp.down_proj.weight')) new Float32Array(bytes.buffer)[2 * 80 + 3] = Number.NaN;
        return bytes;
      },
    };
    const rotated = new RotatedCheckpoint(bad, modelGraph(bad), { seed: 1 });
    await expect(rotated.read('model.layers.1.mlp.down_proj.weight')).rejects.toThrow(
      /row 2, column 3 of tensor "model\.layers\.1\.mlp\.down_proj\.weight"/,
    );
  });

  const graph = graphOf(configOf('Llama', {}), 'config.json');
  const changed = (change: (operation: Graph['operations'][number]) => object): Graph => ({
    ...graph,
    operations: graph.operations.map((operation) => ({ ...operation, ...change(operation) }) as typeof operation),
  });
  test.each<[string, Graph, RegExp]>([
    [
      'a matrix that several norms precede',
      changed(({ out }) => (out === 'layers.1.q' ? { weight: 'model.layers.0.self_attn.q_proj.weight' } : {})),
      /"model\.layers\.0\.self_attn\.q_proj\.weight" is used in two places/,
    ],
    [
      'activations that are added as they are',
      changed(({ out }) => (out === 'layers.0.out' ? { b: 'layers.0.attention' } : {})),
      /layers\.0\.attention is added to the residual stream and comes from no matrix/,
    ],
    [
      'a matrix whose result is read elsewhere, too',
      changed(({ out }) => (out === 'layers.1.activated' ? { up: 'layers.0.o' } : {})),
      /layers\.0\.o is added to the residual stream and read by layers\.1\.activated, too/,
    ],
    [
      'a stream that turns with positions',
      changed(({ out }) => (out === 'layers.0.q-rotated' ? { x: 'embedding' } : {})),
      /layers\.0\.q-rotated \(rotary\) reads the residual stream and is no matrix/,
    ],
    [
      'an embedding that a layer uses, too',
      changed(({ out }) => (out === 'layers.0.down' ? { weight: 'model.embed_tokens.weight' } : {})),
      /"model\.embed_tokens\.weight" is used in two places/,
    ],
  ])('%s', (_, bad, message) => {
    expect(() => residualStream(bad, 'The model')).toThrow(message);
  });
});
