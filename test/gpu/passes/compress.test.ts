import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import {
  ArgumentError,
  CancelledError,
  FileError,
  FormatError,
  ModelError,
  NonFiniteError,
} from '../../../src/errors.ts';
import { openCheckpoint } from '../../../src/files/checkpoint.ts';
import { decodeToF32 } from '../../../src/files/convert.ts';
import { memoryFolder } from '../../../src/files/model-files.ts';
import { nodeFolder } from '../../../src/files/node-files.ts';
import { type TensorSpec, writeSafetensors } from '../../../src/files/safetensors-write.ts';
import { type ByteSink, memoryOutput, memorySink } from '../../../src/files/sink.ts';
import { memorySource } from '../../../src/files/source.ts';
import type { ElementType } from '../../../src/formats/format.ts';
import { formatByName } from '../../../src/formats/registry.ts';
import type { Gpu } from '../../../src/gpu/gpu.ts';
import { openGpu } from '../../../src/gpu/open-gpu.ts';
import { readWeight } from '../../../src/kernels/weight.ts';
import { graphOf } from '../../../src/models/families.ts';
import { compress, planCompression } from '../../../src/passes/compress.ts';
import { dequantizedWeights, loadWeights } from '../../../src/passes/load-weights.ts';
import { checkWeight, findWeight } from '../../../src/passes/stored-weight.ts';
import type { TimelineSpan } from '../../../src/passes/timeline.ts';
import { openTestGpu } from '../open-test-gpu.ts';

const SAMPLE = fileURLToPath(new URL('../../../models/union-7m/', import.meta.url));
const Q = 'model.layers.3.self_attn.q_proj.weight';
const DOWN = 'model.layers.7.mlp.down_proj.weight';
const EMBEDDING = 'model.embed_tokens.weight';

let gpu: Gpu;
beforeAll(async () => {
  gpu = await openTestGpu();
});
afterAll(() => gpu?.close());

interface Made {
  readonly type: ElementType;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

const f32 = (shape: readonly number[], value: (i: number) => number): Made => ({
  type: 'F32',
  shape,
  bytes: new Uint8Array(Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => value(i)).buffer),
});

/** A safetensors file of these tensors. */
async function made(tensors: Readonly<Record<string, Made>>): Promise<Uint8Array<ArrayBuffer>> {
  const sink = memorySink();
  const specs = Object.entries(tensors).map(([name, { type, shape }]): TensorSpec => ({ name, type, shape }));
  const writer = await writeSafetensors(sink, specs, { format: 'pt' });
  for (const [name, { bytes }] of Object.entries(tensors)) await writer.write(name, bytes);
  await writer.finish();
  return sink.bytes();
}

/** Equality of large arrays: a matcher that walks elements takes a minute for a model. */
const same = (a: Uint8Array | undefined, b: Uint8Array | undefined): boolean =>
  a !== undefined && b !== undefined && Buffer.compare(a, b) === 0;
const bytesOf = (values: Float32Array) => new Uint8Array(values.buffer, values.byteOffset, values.byteLength);

const sample = () => nodeFolder(SAMPLE);

describe.each(['q8_0', 'q4_0', 'int4-g64-asym', 'bf16'])('the sample model to %s', (name) => {
  test('holds the codes of the reference, copies the rest, and loads again', async () => {
    const format = formatByName(name);
    const output = memoryOutput('out');
    const planned = await planCompression(await sample(), { format: name, method: 'rtn' });
    const report = await compress(await sample(), output, { gpu, format: name, method: 'rtn' });
    const { memory, ...plan } = planned;
    expect(report).toMatchObject(plan);
    expect(memory.gpu).toBeGreaterThan(0);
    expect([...output.files.keys()].sort()).toEqual([
      'config.json',
      'model.safetensors',
      'tokenizer.json',
      'tokenizer_config.json',
    ]);

    const original = await openCheckpoint(await sample());
    const compressed = await openCheckpoint(memoryFolder('out', Object.fromEntries(output.files)), { checkWeight });
    expect(same(await compressed.fileBytes('config.json'), await original.fileBytes('config.json'))).toBe(true);
    expect(compressed.metadata).toMatchObject(original.metadata);
    for (const tensor of [EMBEDDING, 'model.norm.weight', 'model.layers.0.input_layernorm.weight']) {
      expect(same(await compressed.read(tensor), await original.read(tensor)), tensor).toBe(true);
    }
    const size = [...compressed.tensors.values()].reduce((sum, info) => sum + info.byteLength, 0);
    expect(report.bytesAfter).toBe(size);
    expect(report.tensors.filter((tensor) => tensor.format === name)).toHaveLength(8 * 7);

    const graph = graphOf(original.config, 'config.json');
    const weights = await loadWeights(gpu, compressed, graph);
    const values = await dequantizedWeights(compressed, graph);
    for (const tensor of [Q, DOWN]) {
      const { shape } = original.tensors.get(tensor)!;
      const [rows, k] = shape as [number, number];
      const dense = decodeToF32(await original.read(tensor), 'F16');
      const expected = format.reference.quantize(dense, rows, k);
      for (const array of format.arrays) {
        const part = format.kind === 'dense' ? tensor : `${tensor}.${array.name}`;
        expect(same(await compressed.read(part), expected[array.name]), `${tensor} ${array.name}`).toBe(true);
      }
      const weight = weights.get(tensor)!;
      expect(weight.format.name).toBe(name);
      const loaded = await readWeight(gpu, weight);
      for (const array of format.arrays) expect(same(loaded[array.name], expected[array.name])).toBe(true);
      expect(same(bytesOf(values(tensor)), bytesOf(format.reference.dequantize(expected, rows, k)))).toBe(true);
    }
    expect(weights.get(EMBEDDING)!.format.name).toBe('f16');
    expect(weights.get('model.norm.weight')).toMatchObject({ rows: 1, k: 256, format: { name: 'f32' } });
    for (const weight of weights.values()) weight.release();
    await original.close();
    await compressed.close();
  });
});

test('the same input gives the same bytes', async () => {
  const run = async () => {
    const output = memoryOutput();
    await compress(await sample(), output, { gpu, format: 'q4_0' });
    return output.files.get('model.safetensors');
  };
  expect(same(await run(), await run())).toBe(true);
});

test('the size of chunks changes nothing, nor where a bad weight is said to be', async () => {
  const value = (i: number) => Math.sin(i * 0.3) * (1 + (i % 7));
  const files = await made({ 'a.weight': f32([77, 160], value), 'b.bias': f32([1000], value) });
  const run = async (format: string, chunkBytes?: number) => {
    const sink = memorySink();
    await compress(memorySource('in', files), sink, { gpu, format, ...(chunkBytes && { chunkBytes }) });
    return sink.bytes();
  };
  for (const format of ['int4-g32-asym', 'q8_0', 'f16'])
    expect(same(await run(format, 1), await run(format))).toBe(true);
  const bad = await made({ 'a.weight': f32([77, 160], (i) => (i === 70 * 160 + 3 ? Number.NaN : 1)) });
  const refused = compress(memorySource('in', bad), memorySink(), { gpu, format: 'q4_0', chunkBytes: 1 });
  await expect(refused).rejects.toThrow(/row 70, column 3/);
});

test('the GPU memory that a plan names is what a run takes', async () => {
  const { memory } = await planCompression(await sample(), { format: 'q8_0' });
  gpu.memory.resetPeak();
  const before = gpu.memory.bytesInUse;
  await compress(await sample(), memoryOutput(), { gpu, format: 'q8_0' });
  const taken = gpu.memory.peakBytes - before;
  expect(taken).toBeGreaterThanOrEqual(memory.gpu);
  // Buffers are rounded up by an eighth at most.
  expect(taken).toBeLessThan(1.2 * memory.gpu);
});

test('a budget of GPU memory makes chunks smaller, and changes nothing', async () => {
  const run = async (on: Gpu) => {
    const sink = memorySink();
    await compress(await sample(), sink, { gpu: on, output: 'safetensors', format: 'q8_0' });
    return sink.bytes();
  };
  // A matrix of 768 rows takes 393 KB, its codes 221 KB.
  const small = await openGpu({ memoryBudget: 300_000 });
  try {
    expect(same(await run(small), await run(gpu))).toBe(true);
    expect(small.memory.peakBytes).toBeLessThanOrEqual(300_000);
  } finally {
    small.close();
  }
});

test('weights load in small chunks as in large ones', async () => {
  const output = memoryOutput();
  const rules = [{ match: '*', role: 'linear' as const, format: 'int4-g64-asym' }];
  await compress(await sample(), output, { gpu, recipe: { version: 1, rules } });
  const compressed = await openCheckpoint(memoryFolder('out', Object.fromEntries(output.files)), { checkWeight });
  const graph = graphOf(compressed.config, 'config.json');
  const whole = await loadWeights(gpu, compressed, graph);
  const pieces = await loadWeights(gpu, compressed, graph, { chunkBytes: 4096 });
  for (const name of [Q, DOWN, EMBEDDING]) {
    const [a, b] = [await readWeight(gpu, whole.get(name)!), await readWeight(gpu, pieces.get(name)!)];
    for (const array of Object.keys(a)) expect(same(a[array], b[array]), `${name} ${array}`).toBe(true);
  }
  for (const weight of [...whole.values(), ...pieces.values()]) weight.release();
  await compressed.close();
});

test('dense weights load as another type where that is asked for', async () => {
  const original = await openCheckpoint(await sample());
  const graph = graphOf(original.config, 'config.json');
  const weights = await loadWeights(gpu, original, graph, { dense: 'f32', embeddings: 'f16' });
  expect(weights.get(EMBEDDING)!.format.name).toBe('f16');
  const weight = weights.get(Q)!;
  expect(weight.format.name).toBe('f32');
  const dense = decodeToF32(await original.read(Q), 'F16');
  expect(same((await readWeight(gpu, weight)).data, bytesOf(dense))).toBe(true);
  for (const each of weights.values()) each.release();
  await original.close();
});

test('a compressed model is not compressed again', async () => {
  const output = memoryOutput();
  await compress(await sample(), output, { gpu, format: 'q4_0' });
  const again = memoryOutput();
  const folder = memoryFolder('once', Object.fromEntries(output.files));
  await expect(compress(folder, again, { gpu })).rejects.toThrow(FileError);
  await expect(compress(folder, again, { gpu })).rejects.toThrow(/already compressed/);
  expect(again.files.size).toBe(0);
});

test('a recipe may name the embedding, and a rule that matches nothing is reported', async () => {
  const output = memoryOutput();
  const recipe = {
    version: 1 as const,
    rules: [
      { match: '*.nothing', format: 'q4_0' },
      { match: '*', role: 'embedding' as const, format: 'q8_0' },
      { match: '*.mlp.*', format: 'int8-g128-asym' },
    ],
  };
  const report = await compress(await sample(), output, { gpu, recipe });
  const formats = new Map(report.tensors.map((tensor) => [tensor.name, tensor.format]));
  expect(formats.get(EMBEDDING)).toBe('q8_0');
  expect(formats.get(DOWN)).toBe('int8-g128-asym');
  expect(formats.get(Q)).toBe('f16');
  expect(report.notices).toEqual([expect.stringContaining('*.nothing')]);
});

describe('bare tensors', () => {
  const wave = (i: number) => Math.sin(i * 0.7) * (1 + (i % 13));
  const file = () =>
    made({
      'fc.weight': f32([33, 64], wave),
      odd: f32([40, 48], wave),
      'fc.bias': f32([33], wave),
      scalar: f32([], () => 3),
      none: f32([0, 64], wave),
      mask: f32([4], () => Number.NEGATIVE_INFINITY),
      ids: { type: 'I64', shape: [2, 64], bytes: new Uint8Array(1024).fill(7) },
    });

  test('matrices are compressed, others copied, misfits kept with a notice', async () => {
    const sink = memorySink('out.safetensors');
    const bytes = await file();
    const report = await compress(memorySource('in', bytes), sink, { gpu, format: 'int4-g64-asym', method: 'rtn' });
    expect(report.notices).toEqual([expect.stringMatching(/"odd" is kept.*48.*64/)]);
    const before = await openCheckpoint(memorySource('in', bytes));
    const after = await openCheckpoint(memorySource('out', sink.bytes()), { checkWeight });
    for (const name of ['odd', 'fc.bias', 'scalar', 'none', 'mask', 'ids']) {
      expect(await after.read(name)).toEqual(await before.read(name));
      expect(after.tensors.get(name)).toMatchObject({ shape: before.tensors.get(name)!.shape });
    }
    const format = formatByName('int4-g64-asym');
    const expected = format.reference.quantize(decodeToF32(await before.read('fc.weight'), 'F32'), 33, 64);
    expect(await after.read('fc.weight.codes')).toEqual(expected.codes);
    // The device's arrays are padded to whole words, the file's are not.
    expect(await after.read('fc.weight.zeros')).toEqual(expected.zeros!.subarray(0, 33));
    expect(findWeight(after, 'fc.weight')).toMatchObject({ kind: 'quantized', shape: [33, 64] });
  });

  test('a rule that names a matrix whose rows do not divide is refused', async () => {
    const sink = memorySink();
    const recipe = { version: 1 as const, rules: [{ match: 'odd', format: 'int4-g64' }] };
    await expect(compress(memorySource('in', await file()), sink, { gpu, recipe })).rejects.toThrow(FormatError);
    expect(() => sink.bytes()).toThrow(FileError);
  });

  test.each([Number.NaN, Number.POSITIVE_INFINITY])(
    '%s in a matrix is refused by name, and nothing is written',
    async (bad) => {
      const sink = memorySink();
      const bytes = await made({ 'fc.weight': f32([32, 64], (i) => (i === 5 * 64 + 9 ? bad : 1)) });
      const run = compress(memorySource('in', bytes), sink, { gpu, format: 'q8_0' });
      await expect(run).rejects.toThrow(NonFiniteError);
      await expect(run).rejects.toThrow(/row 5, column 9 of tensor "fc\.weight"/);
      expect(() => sink.bytes()).toThrow(FileError);
    },
  );

  const words = (type: 'F16' | 'BF16', of: readonly number[]): Made => ({
    type,
    shape: [of.length],
    bytes: new Uint8Array(Uint16Array.from(of).buffer),
  });
  const at = (index: number, shape: readonly number[]) => f32(shape, (i) => (i === index ? Number.NaN : 1));
  const f64: Made = { type: 'F64', shape: [2], bytes: new Uint8Array(Float64Array.of(1, Number.NaN).buffer) };
  test.each<[string, Made, string]>([
    ['a bias', at(33, [40]), 'row 0, column 33'],
    ['a matrix that is kept', at(3 * 48 + 7, [40, 48]), 'row 3, column 7'],
    ['a kernel of convolution', at(2 * 12 + 5, [4, 3, 4]), 'row 2, column 5'],
    ['a scalar', at(0, []), 'row 0, column 0'],
    ['f16', words('F16', [0x7bff, 0xfbff, 0x7c00, 0xfe00]), 'row 0, column 3'],
    ['bf16', words('BF16', [0x7f7f, 0xff80, 0x7f81]), 'row 0, column 2'],
    ['f64', f64, 'row 0, column 1'],
  ])('NaN in what is only copied is refused by name: %s', async (_, tensor, where) => {
    for (const chunkBytes of [undefined, 64]) {
      const sink = memorySink();
      // The first one makes offsets odd.
      const bytes = await made({ a: { type: 'U8', shape: [3], bytes: new Uint8Array(3) }, tensor });
      const run = compress(memorySource('in', bytes), sink, {
        gpu,
        format: 'int4-g64',
        ...(chunkBytes && { chunkBytes }),
      });
      await expect(run).rejects.toThrow(NonFiniteError);
      await expect(run).rejects.toThrow(`The weight at ${where} of tensor "tensor" is NaN;`);
      expect(() => sink.bytes()).toThrow(FileError);
    }
  });

  test('a file does not become a folder', async () => {
    const source = memorySource('in', await file());
    const close = vi.spyOn(source, 'close');
    await expect(compress(source, memoryOutput(), { gpu })).rejects.toThrow(ArgumentError);
    expect(close).toHaveBeenCalledOnce();
  });
});

/** A model of one layer whose weights are all ones, but for what `change` makes of them. */
async function smallModel(change: (weights: Record<string, Made>) => Record<string, Made> = (weights) => weights) {
  const config = JSON.stringify({
    ...JSON.parse(readFileSync(`${SAMPLE}config.json`, 'utf8')),
    hidden_size: 32,
    intermediate_size: 96,
    num_hidden_layers: 1,
    num_attention_heads: 1,
    num_key_value_heads: 1,
    head_dim: 32,
    vocab_size: 8,
  });
  const graph = graphOf(JSON.parse(config), 'config.json');
  const weights = Object.fromEntries(graph.weights.map(({ name, shape }) => [name, f32(shape, () => 1)]));
  return { config, weights: change(weights) };
}

const smallFolder = async (model: Awaited<ReturnType<typeof smallModel>>) =>
  memoryFolder('small', { 'config.json': model.config, 'model.safetensors': await made(model.weights) });

test('a group that does not divide the rows of a model is refused', async () => {
  const output = memoryOutput();
  const run = compress(await smallFolder(await smallModel()), output, { gpu, format: 'int4-g64' });
  await expect(run).rejects.toThrow(FormatError);
  await expect(run).rejects.toThrow(/q_proj\.weight.*multiple of the block size 64/);
  expect(output.files.size).toBe(0);
});

test.each([Number.NaN, Number.NEGATIVE_INFINITY])(
  '%s in a tensor of a model that is only copied is refused by name',
  async (bad) => {
    const model = await smallModel((weights) => ({
      ...weights,
      [EMBEDDING]: f32([8, 32], (i) => (i === 2 * 32 + 1 ? bad : 1)),
    }));
    const output = memoryOutput();
    const run = compress(await smallFolder(model), output, { gpu, format: 'q8_0' });
    await expect(run).rejects.toThrow(NonFiniteError);
    await expect(run).rejects.toThrow(/row 2, column 1 of tensor "model\.embed_tokens\.weight"/);
    expect(output.files.size).toBe(0);
  },
);

test('a model without a config or without one of its tensors is refused', async () => {
  const { config, weights } = await smallModel();
  const bare = memoryFolder('bare', { 'model.safetensors': await made(weights) });
  await expect(compress(bare, memoryOutput(), { gpu })).rejects.toThrow(/there is no config\.json/);
  const { 'model.norm.weight': _, ...rest } = weights;
  await expect(compress(await smallFolder({ config, weights: rest }), memoryOutput(), { gpu })).rejects.toThrow(
    ModelError,
  );
});

test('shards become one file', async () => {
  const { config, weights } = await smallModel();
  const entries = Object.entries(weights);
  const shards = { 'a.safetensors': entries.slice(0, 4), 'b.safetensors': entries.slice(4) };
  const map = Object.entries(shards).flatMap(([file, some]) => some.map(([name]) => [name, file]));
  const folder = memoryFolder('shards', {
    'config.json': config,
    'a.safetensors': await made(Object.fromEntries(shards['a.safetensors'])),
    'b.safetensors': await made(Object.fromEntries(shards['b.safetensors'])),
    'model.safetensors.index.json': JSON.stringify({ weight_map: Object.fromEntries(map) }),
  });
  const [whole, joined] = [memoryOutput(), memoryOutput()];
  await compress(await smallFolder({ config, weights }), whole, { gpu, format: 'q8_0' });
  await compress(folder, joined, { gpu, format: 'q8_0' });
  expect(same(joined.files.get('model.safetensors'), whole.files.get('model.safetensors'))).toBe(true);
});

describe('scales of weights that are copied', () => {
  /** The sample in a format, with one element of one array of a matrix overwritten. */
  async function spoiled(format: string, part: string, element: number, word: number) {
    const output = memoryOutput();
    await compress(await sample(), output, { gpu, format });
    const files = Object.fromEntries(output.files);
    const bytes = files['model.safetensors']!;
    const { tensors, close } = await openCheckpoint(memoryFolder('q', files));
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    view.setUint16(tensors.get(`${DOWN}.${part}`)!.offset + 2 * element, word, true);
    await close();
    return memoryFolder('spoiled', files);
  }

  test.each([
    ['q8_0', 'scales', 0x7c00],
    ['q4_1', 'minima', 0xfe01],
  ])('%s: its %s are looked at, and what is not finite is refused by name', async (format, part, word) => {
    // Of 24 blocks a row.
    const source = await spoiled(format, part, 3 * 24 + 5, word);
    for (const output of [memoryOutput(), memorySink('out.safetensors'), memorySink('out.gguf')]) {
      const run = compress(source, output, { gpu, format: 'keep', chunkBytes: 4096 });
      await expect(run).rejects.toThrow(NonFiniteError);
      await expect(run).rejects.toThrow(
        `Of tensor "${DOWN}" (${format}), the ${part} hold a value that is NaN or infinite: in row 3, block 5.`,
      );
    }
  });
});

test('a cancelled run writes nothing and gives its memory back', async () => {
  const output = memoryOutput();
  const controller = new AbortController();
  const inUse = gpu.memory.bytesInUse;
  let calls = 0;
  const run = compress(await sample(), output, {
    gpu,
    signal: controller.signal,
    onProgress: () => {
      if (++calls === 20) controller.abort();
    },
  });
  await expect(run).rejects.toThrow(new CancelledError('The compression', 'nothing was written'));
  expect(calls).toBe(20);
  expect(output.files.size).toBe(0);
  expect(gpu.memory.bytesInUse).toBe(inUse);
});

test('reading, GPU and writing overlap, and a timeline tells', async () => {
  const spans: TimelineSpan[] = [];
  const chunkBytes = 64 * 1024;
  const slow = memorySink('slow.safetensors');
  const sink: ByteSink = {
    ...slow,
    async write(bytes) {
      await new Promise((resolve) => setTimeout(resolve, 2));
      await slow.write(bytes);
    },
  };
  const report = await compress(await sample(), sink, { gpu, chunkBytes, onTimeline: (span) => spans.push(span) });
  expect(spans.length % 3).toBe(0);
  expect(new Set(spans.map(({ tensor }) => tensor))).toEqual(new Set(report.tensors.map(({ name }) => name)));
  for (const { start, end } of spans) {
    expect(start).toBeGreaterThanOrEqual(0);
    expect(end).toBeLessThanOrEqual(1000 * report.seconds);
  }
  const computing = spans.filter(({ stage }) => stage === 'compute');
  const writing = spans.filter(({ stage }) => stage === 'write');
  const overlap = writing.filter((w) => computing.some((c) => c.start < w.end && w.start < c.end));
  expect(overlap.length).toBeGreaterThan(writing.length / 2);
});
