import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ArgumentError, FormatError } from '../../../src/errors.ts';
import { openCheckpoint } from '../../../src/files/checkpoint.ts';
import { readGguf, rowCount } from '../../../src/files/gguf/read.ts';
import { memoryFolder } from '../../../src/files/model-files.ts';
import { nodeFolder } from '../../../src/files/node-files.ts';
import { readSafetensors } from '../../../src/files/safetensors-read.ts';
import { memoryOutput, memorySink } from '../../../src/files/sink.ts';
import { blobSource, memorySource } from '../../../src/files/source.ts';
import type { Gpu } from '../../../src/gpu/gpu.ts';
import { openModel } from '../../../src/model.ts';
import { compress } from '../../../src/passes/compress.ts';
import { allWeightsOf, checkWeight } from '../../../src/passes/stored-weight.ts';
import { openTestGpu } from '../open-test-gpu.ts';

const SAMPLE = fileURLToPath(new URL('../../../models/union-7m/', import.meta.url));
const PROMPT = 'My fellow citizens';

let gpu: Gpu;
beforeAll(async () => {
  gpu = await openTestGpu();
});
afterAll(() => gpu?.close());

const sample = () => nodeFolder(SAMPLE);

async function toGguf(source: Parameters<typeof compress>[0], format: string): Promise<Uint8Array<ArrayBuffer>> {
  const sink = memorySink('model.gguf');
  await compress(source, sink, { gpu, format });
  return sink.bytes();
}

async function toFolder(source: Parameters<typeof compress>[0], format: string) {
  const output = memoryOutput('folder');
  await compress(source, output, { gpu, format });
  return memoryFolder('folder', Object.fromEntries(output.files));
}

/** Equality of large arrays: a matcher that walks elements takes a minute for a model. */
const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

/** The text and tokens with which a model goes on. */
async function written(files: Parameters<typeof openModel>[0]) {
  const model = await openModel(files, { gpu, maxPositions: 64 });
  try {
    const { promptTokens, tokens, text } = await model.complete(PROMPT, { maxTokens: 12 });
    return { promptTokens, tokens, text };
  } finally {
    await model.close();
  }
}

test.each(['q4_0', 'q8_0', 'Q4_K_M'])(
  'a GGUF file of %s holds the weights of the folder, and the model writes the same',
  async (format) => {
    const file = await toGguf(await sample(), format);
    const folder = await toFolder(await sample(), format);
    const a = await openCheckpoint(memorySource('model.gguf', file), { checkWeight });
    const b = await openCheckpoint(folder, { checkWeight });
    expect([...allWeightsOf(a).keys()]).toEqual([...allWeightsOf(b).keys()]);
    for (const [name, weight] of allWeightsOf(b)) {
      const other = allWeightsOf(a).get(name)!;
      expect(other.shape, name).toEqual(weight.shape);
      // Vectors become f32.
      if (weight.kind !== 'quantized' || other.kind !== 'quantized') continue;
      expect(other.format, name).toBe(weight.format);
      for (const [i, part] of weight.parts.entries()) {
        expect(same(await a.read(other.parts[i]!), await b.read(part)), `${name} ${part.name}`).toBe(true);
      }
    }
    await a.close();
    await b.close();
    const expected = await written(folder);
    expect(expected.tokens).toHaveLength(12);
    expect(await written(memorySource('model.gguf', file))).toEqual(expected);
  },
);

test('the type of the file is that of most matrices, or what the preset says', async () => {
  const typeOf = async (format: string) =>
    (await readGguf(memorySource('m', await toGguf(await sample(), format)))).scalars.get('general.file_type')?.value;
  expect([await typeOf('q8_0'), await typeOf('Q3_K_S')]).toEqual([7, 11]);
});

test('GGUF to folder or GGUF and back gives the same weights, bit for bit, and the same tokens', async () => {
  const bytes = await toGguf(await sample(), 'q4_0');
  const folder = await toFolder(memorySource('model.gguf', bytes), 'keep');
  const expected = await readGguf(memorySource('model.gguf', bytes));
  const tokens = await expected.strings('tokenizer.ggml.tokens');
  expect(tokens).toHaveLength(4096);
  for (const source of [folder, memorySource('model.gguf', bytes)]) {
    const again = await readGguf(memorySource('again.gguf', await toGguf(source, 'keep')));
    expect([...again.tensors.keys()].sort()).toEqual([...expected.tensors.keys()].sort());
    for (const [name, tensor] of expected.tensors) {
      const other = again.tensors.get(name)!;
      expect(other, name).toMatchObject({ type: tensor.type, shape: tensor.shape });
      const [a, b] = [await expected.rows(tensor, 0, rowCount(tensor)), await again.rows(other, 0, rowCount(other))];
      expect(same(a, b), name).toBe(true);
    }
    const { 'general.name': _a, ...scalars } = Object.fromEntries(expected.scalars);
    const { 'general.name': _b, ...others } = Object.fromEntries(again.scalars);
    expect(others).toEqual(scalars);
    expect(await again.strings('tokenizer.ggml.tokens')).toEqual(tokens);
    expect(await again.strings('tokenizer.ggml.merges')).toEqual(await expected.strings('tokenizer.ggml.merges'));
  }
  expect(await written(folder)).toEqual(await written(memorySource('model.gguf', bytes)));
});

test('the same file is written whatever the size of the chunks, and from a file in memory or a Blob', async () => {
  const whole = await toGguf(await sample(), 'q8_0');
  const sink = memorySink('model.gguf');
  // Less than a head of queries at a time.
  await compress(await sample(), sink, { gpu, format: 'q8_0', chunkBytes: 8 * 256 * 2 });
  expect(same(sink.bytes(), whole)).toBe(true);
  const copied = await toGguf(blobSource('model.gguf', new Blob([whole])), 'keep');
  expect(same(copied, whole)).toBe(true);
});

test('what a GGUF file can not hold is refused before any work, and nothing is written', async () => {
  const sink = memorySink('model.gguf');
  const run = compress(await sample(), sink, { gpu, format: 'int4-g64' });
  await expect(run).rejects.toThrow(FormatError);
  await expect(run).rejects.toThrow(/can't hold int4-g64; it can hold f32, f16, bf16, .*q4_0/);
  expect(() => sink.bytes()).toThrow();
  const output = memoryOutput('model');
  await expect(compress(await sample(), output, { gpu, output: 'gguf' })).rejects.toThrow(ArgumentError);
  expect(output.files.size).toBe(0);
});

test('a bad weight of a query matrix is named by its row in the model, not in the file', async () => {
  const files = await denseSample();
  const at = files.offsetOf(QUERIES) + 2 * (70 * 256 + 5);
  // An infinity in f16.
  new DataView(files.weights.buffer).setUint16(at, 0x7c00, true);
  const run = (format: string) => compress(files.folder(), memorySink('model.gguf'), { gpu, format });
  await expect(run('q4_0')).rejects.toThrow(/row 70, column 5 of tensor "model\.layers\.0\.self_attn\.q_proj\.weight"/);
  await expect(run('keep')).rejects.toThrow(/row 70, column 5 of tensor/);
});

const QUERIES = 'model.layers.0.self_attn.q_proj.weight';

/** The sample model in memory, to be damaged. */
async function denseSample() {
  const original = await sample();
  const read = async (name: string) => {
    const source = await original.open(name);
    const bytes = await source.read(0, source.size);
    await source.close();
    return bytes;
  };
  const weights = await read('model.safetensors');
  const { tensors } = await readSafetensors(memorySource('model.safetensors', weights));
  const config = await read('config.json');
  return {
    weights,
    offsetOf: (name: string) => tensors.get(name)!.offset,
    folder: () => memoryFolder('damaged', { 'model.safetensors': weights, 'config.json': config }),
  };
}
