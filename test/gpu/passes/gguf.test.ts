import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openCheckpoint } from '../../../src/files/checkpoint.ts';
import { memoryFolder } from '../../../src/files/model-files.ts';
import { nodeFolder } from '../../../src/files/node-files.ts';
import { memoryOutput, memorySink } from '../../../src/files/sink.ts';
import { memorySource } from '../../../src/files/source.ts';
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

test.each(['q4_0', 'q8_0'])('a GGUF file of %s holds the weights of the folder, and the model writes the same', async (format) => {
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
});

test('GGUF to folder and back gives the same file, byte for byte', async () => {
  const file = await toGguf(await sample(), 'q4_0');
  const folder = await toFolder(memorySource('model.gguf', file), 'keep');
  const again = await toGguf(folder, 'keep');
  const copied = await toGguf(memorySource('model.gguf', file), 'keep');
  expect(copied.byteLength).toBe(file.byteLength);
  expect(again.byteLength).toBeGreaterThan(0);
  expect(await written(folder)).toEqual(await written(memorySource('again.gguf', again)));
});
