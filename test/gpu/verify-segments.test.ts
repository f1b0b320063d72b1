import { afterAll, beforeAll, expect, test } from 'vitest';
import { openCheckpoint } from '../../src/files/checkpoint.ts';
import { type ModelFiles, memoryFolder } from '../../src/files/model-files.ts';
import { writeSafetensors } from '../../src/files/safetensors-write.ts';
import { memoryOutput, memorySink } from '../../src/files/sink.ts';
import type { JsonObject } from '../../src/files/strict-json.ts';
import type { HostArrays } from '../../src/formats/format.ts';
import { contentBytes } from '../../src/formats/layout.ts';
import { formatByName } from '../../src/formats/registry.ts';
import type { Gpu } from '../../src/gpu/gpu.ts';
import { Decoder } from '../../src/graph/decoder.ts';
import type { Graph } from '../../src/graph/graph.ts';
import { ReferenceRun } from '../../src/graph/reference.ts';
import { SegmentRun } from '../../src/graph/segment-run.ts';
import { cutGraph, headGraph, segmentGraph } from '../../src/graph/segments.ts';
import { readWeight, type Weight } from '../../src/kernels/weight.ts';
import { graphOf } from '../../src/models/families.ts';
import { compress } from '../../src/passes/compress.ts';
import { dequantizedWeights, gatherRows, loadWeight, loadWeights } from '../../src/passes/load-weights.ts';
import { parseRecipe } from '../../src/passes/recipe.ts';
import { ReferenceBlocks } from '../../src/verify/reference-blocks.ts';
import { formatsUnderTest } from './formats-under-test.ts';
import { openTestGpu } from './open-test-gpu.ts';
import { randomSource } from './random.ts';
import { randomWeights } from './random-weights.ts';

let gpu: Gpu;
beforeAll(async () => {
  gpu = await openTestGpu();
});
afterAll(() => gpu.close());

/** A model of random sizes and of one of the families, with all that differs between them. */
function randomConfig(random: () => number): JsonObject {
  const pick = <T>(...values: readonly T[]): T => values[Math.floor(random() * values.length)]!;
  const heads = pick(2, 4);
  return {
    architectures: [`${pick('Llama', 'Qwen3', 'Gemma2', 'Gemma3', 'Mistral')}ForCausalLM`],
    hidden_size: pick(32, 64, 96),
    intermediate_size: pick(64, 128),
    num_hidden_layers: pick(1, 2, 3),
    num_attention_heads: heads,
    num_key_value_heads: pick(1, heads),
    head_dim: pick(8, 16),
    vocab_size: pick(64, 101, 200),
    max_position_embeddings: 64,
    tie_word_embeddings: pick(true, false),
    attention_bias: pick(true, false),
    query_pre_attn_scalar: 12,
    sliding_window: 5,
    sliding_window_pattern: 2,
    final_logit_softcapping: 4,
  };
}

/** A folder of the model with random weights in f32. */
async function modelOf(config: object, graph: Graph, seed: number): Promise<ModelFiles> {
  const random = randomWeights(gpu, graph, seed);
  random.release();
  const sink = memorySink();
  const specs = graph.weights.map(({ name, shape }) => ({ name, shape, type: 'F32' as const }));
  const writer = await writeSafetensors(sink, specs);
  for (const { name } of specs) await writer.write(name, new Uint8Array(random.values(name).buffer));
  await writer.finish();
  return memoryFolder('random', { 'config.json': JSON.stringify(config), 'model.safetensors': sink.bytes() });
}

test('segments of random graphs, cut anywhere, and slices of their heads give the logits of the whole', async () => {
  const before = gpu.memory.bytesInUse;
  for (let seed = 1; seed <= 8; seed++) {
    const random = randomSource(seed);
    const graph = graphOf(randomConfig(random), 'config.json');
    const { weights, release } = randomWeights(gpu, graph, seed);
    const ids = Uint32Array.from({ length: 1 + Math.floor(20 * random()) }, () =>
      Math.floor(graph.vocabulary * random()),
    );
    // Segments launch each operation by itself.
    const decoder = new Decoder(gpu, graph, weights, { maxPositions: ids.length, fuse: false });
    const { logits } = await decoder.forward(ids);
    const whole = new Float32Array((await gpu.readBack(logits.buffer, 0, logits.size)).buffer);
    decoder.release();
    const most = 1 + Math.floor(8 * random());
    let values = new Map<string, Float32Array>();
    for (const segment of cutGraph(graph, ({ from, to }) => to - from <= most).slice(0, -1)) {
      const own = segmentGraph(graph, segment);
      // Only its own weights.
      const given = new Map(own.weights.map(({ name }) => [name, weights.get(name)!]));
      const run = new SegmentRun(gpu, own, segment, given, ids.length, { keepValues: random() < 0.3 });
      // Twice: nothing of one run may show in the next.
      await run.run(values, ids);
      const made = await run.run(values, ids);
      run.release();
      values = new Map([...values, ...made].filter(([name]) => segment.live.includes(name)));
    }
    const head = cutGraph(graph).at(-1)!;
    const name = graph.operations.at(-1)!.op === 'linear' ? segmentGraph(graph, head).weights[0]!.name : '';
    const all = await readWeight(gpu, weights.get(name)!);
    for (let start = 0; start < graph.vocabulary; start += 48) {
      const count = Math.min(48, graph.vocabulary - start);
      const { k, format } = weights.get(name)!;
      const slice = gpu.memory.allocate(count * k * 4);
      gpu.upload(slice, all.data!.subarray(start * k * 4, (start + count) * k * 4));
      const arrays = [{ buffer: slice, size: count * k * 4 }];
      const weight = { ...weights.get(name)!, rows: count, format, parts: [{ rowStart: 0, rows: count, arrays }] };
      const run = new SegmentRun(gpu, headGraph(graph, count), head, new Map([[name, weight]]), ids.length);
      const got = (await run.run(values)).get(graph.logits)!;
      run.release();
      gpu.memory.release(slice);
      const wanted = Float32Array.from(
        { length: got.length },
        (_, i) => whole[Math.floor(i / count) * graph.vocabulary + start + (i % count)]!,
      );
      expect(got, `seed ${seed}`).toEqual(wanted);
    }
    release();
  }
  expect(gpu.memory.bytesInUse).toBe(before);
});

test('the reference by blocks, from the file, computes what the reference of the whole does', async () => {
  for (let seed = 20; seed < 26; seed++) {
    const random = randomSource(seed);
    const config = randomConfig(random);
    const graph = graphOf(config, 'config.json');
    const checkpoint = await openCheckpoint(await modelOf(config, graph, seed));
    const tokens = Array.from({ length: 7 }, () => Math.floor(graph.vocabulary * random()));
    const whole = new ReferenceRun(graph, await dequantizedWeights(checkpoint, graph)).forward(tokens);
    // Eight rows at a time.
    const blocks = new ReferenceBlocks(checkpoint, graph, tokens, { chunkBytes: 1 });
    const most = 1 + Math.floor(8 * random());
    for (const segment of cutGraph(graph, ({ from, to }) => to - from <= most).slice(0, -1)) await blocks.run(segment);
    for (let start = 0; start < graph.vocabulary; start += 40) {
      const count = Math.min(40, graph.vocabulary - start);
      const got = await blocks.logits({ start, count });
      for (const [i, value] of got.entries()) {
        const wanted = whole[Math.floor(i / count) * graph.vocabulary + start + (i % count)]!;
        expect(Math.abs(value - wanted), `seed ${seed}`).toBeLessThan(1e-12 * Math.max(1, Math.abs(wanted)));
      }
    }
  }
});

// Of those with stored scales of activations a calibration has to say them.
const stored = formatsUnderTest.filter(({ activations }) => activations !== 'static').map(({ name }) => name);

test.each(stored)('rows and slices of a matrix in %s are those of the whole', async (name) => {
  const config = {
    ...randomConfig(() => 0),
    hidden_size: 256,
    intermediate_size: 256,
    vocab_size: 300,
    attention_bias: true,
  };
  const graph = graphOf(config, 'config.json');
  const model = await modelOf(config, graph, 5);
  const output = memoryOutput();
  const recipe = parseRecipe({ version: 1, rules: [{ match: '*embed_tokens*', format: name }] });
  await compress(model, output, { gpu, recipe });
  const checkpoint = await openCheckpoint(memoryFolder(name, Object.fromEntries(output.files)));
  const before = gpu.memory.bytesInUse;
  const wanted = graph.weights.find(({ role }) => role === 'embedding')!;
  const whole = await loadWeight(gpu, checkpoint, wanted);
  expect(whole.format.name).toBe(name);
  // Where scales are quantized all together, rows come with what these stand for: values tell.
  const rowFormat = whole.format.single ?? whole.format;
  const arraysOf = async (weight: Weight): Promise<HostArrays> => {
    const arrays = await readWeight(gpu, weight);
    if (rowFormat === whole.format) return arrays;
    const values = weight.format.reference.dequantize(arrays, weight.rows, weight.k);
    return formatByName('f32').reference.quantize(values, weight.rows, weight.k);
  };
  const all = await arraysOf(whole);
  // The first, the last, neighbours, and rows far from each other.
  const rows = Uint32Array.of(0, 3, 4, 5, 90, 91, 200, 299);
  const gathered = await gatherRows(gpu, checkpoint, wanted, rows);
  const slice = await loadWeight(gpu, checkpoint, wanted, { rows: { start: 96, count: 37 } });
  const same = (got: Uint8Array, row: number, of: number, rowBytes: number, array: Uint8Array) =>
    expect(got.subarray(row * rowBytes, (row + 1) * rowBytes), `row ${of}`).toEqual(
      array.subarray(of * rowBytes, (of + 1) * rowBytes),
    );
  expect([gathered.format, slice.format]).toEqual([rowFormat, rowFormat]);
  const [some, part] = [await arraysOf(gathered), await arraysOf(slice)];
  for (const array of rowFormat === whole.format ? rowFormat.arrays : formatByName('f32').arrays) {
    const rowBytes = contentBytes(array, 1, whole.k);
    for (const [i, row] of rows.entries()) same(some[array.name]!, i, row, rowBytes, all[array.name]!);
    for (let i = 0; i < 37; i++) same(part[array.name]!, i, 96 + i, rowBytes, all[array.name]!);
  }
  expect([gathered.rows, slice.rows]).toEqual([8, 37]);
  const bias = graph.weights.find(({ role }) => role === 'bias');
  if (bias) {
    const [vector, piece] = [
      await loadWeight(gpu, checkpoint, bias),
      await loadWeight(gpu, checkpoint, bias, { rows: { start: 5, count: 9 } }),
    ];
    const [a, b] = [await readWeight(gpu, vector), await readWeight(gpu, piece)];
    expect(b.data).toEqual(a.data!.subarray(20, 56));
    vector.release();
    piece.release();
  }
  for (const weight of [whole, gathered, slice]) weight.release();
  expect(gpu.memory.bytesInUse).toBe(before);
  // All of it still runs.
  const weights = await loadWeights(gpu, checkpoint, graph);
  for (const weight of weights.values()) weight.release();
});
