import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ArgumentError } from '../../../src/errors.ts';
import { openCheckpoint } from '../../../src/files/checkpoint.ts';
import { memoryFolder } from '../../../src/files/model-files.ts';
import { nodeFolder } from '../../../src/files/node-files.ts';
import { readSafetensors } from '../../../src/files/safetensors-read.ts';
import { memoryOutput, memorySink } from '../../../src/files/sink.ts';
import { memorySource } from '../../../src/files/source.ts';
import { WEIGHT_TREE_KEY } from '../../../src/files/weight-tree.ts';
import type { Gpu } from '../../../src/gpu/gpu.ts';
import { graphOf } from '../../../src/models/families.ts';
import { compress } from '../../../src/passes/compress.ts';
import { loadWeights } from '../../../src/passes/load-weights.ts';
import { checkWeight, weightsOf } from '../../../src/passes/stored-weight.ts';
import { openTestGpu } from '../open-test-gpu.ts';

const SAMPLE = fileURLToPath(new URL('../../../models/union-7m/', import.meta.url));
const INDEX = 'model.safetensors.index.json';
const SHARD_BYTES = 500_000;

let gpu: Gpu;
beforeAll(async () => {
  gpu = await openTestGpu();
});
afterAll(() => gpu?.close());

const sample = () => nodeFolder(SAMPLE);

async function compressed(format: string, shardBytes?: number) {
  const output = memoryOutput('out');
  const report = await compress(await sample(), output, { gpu, format, ...(shardBytes && { shardBytes }) });
  return { report, files: Object.fromEntries(output.files) };
}

describe.each(['q4_0', 'int4-g64-asym', 'keep'])('the sample model as %s in files of half a megabyte', (format) => {
  test('holds what one file holds, tensor by tensor, and loads', async () => {
    const whole = await compressed(format);
    const { files, report } = await compressed(format, SHARD_BYTES);
    const shards = Object.keys(files).filter((name) => name.endsWith('.safetensors'));
    expect(shards.length).toBeGreaterThan(5);
    const last = String(shards.length).padStart(5, '0');
    expect(shards.sort()).toEqual(
      shards.map((_, i) => `model-${String(i + 1).padStart(5, '0')}-of-${last}.safetensors`),
    );

    const index = JSON.parse(new TextDecoder().decode(files[INDEX]));
    expect(index.metadata).toEqual({ total_size: report.bytesAfter });
    let trees = 0;
    for (const shard of shards) {
      const file = await readSafetensors(memorySource(shard, files[shard]!));
      if (file.metadata[WEIGHT_TREE_KEY] !== undefined) trees++;
      expect(file.metadata.format).toBe('pt');
      const bytes = [...file.tensors.values()].reduce((sum, { byteLength }) => sum + byteLength, 0);
      // Larger only where one tensor is.
      const owners = new Set([...file.tensors.keys()].map((name) => name.replace(/\.(codes|scales|zeros)$/, '')));
      if (bytes > SHARD_BYTES) expect(owners.size).toBe(1);
      for (const name of file.tensors.keys()) expect(index.weight_map[name]).toBe(shard);
    }
    expect(trees).toBe(format === 'keep' ? 0 : 1);

    const a = await openCheckpoint(memoryFolder('whole', whole.files), { checkWeight });
    const b = await openCheckpoint(memoryFolder('shards', files), { checkWeight });
    expect([...b.tensors.keys()].sort()).toEqual([...a.tensors.keys()].sort());
    for (const [name, { type, shape }] of a.tensors) {
      expect(b.tensors.get(name)).toMatchObject({ type, shape });
      expect(Buffer.compare(await a.read(name), await b.read(name)), name).toBe(0);
    }
    expect(b.tree?.weights).toEqual(a.tree?.weights);
    // The arrays of a weight are in one file.
    for (const weight of weightsOf(b).values()) {
      if (weight.kind !== 'quantized') continue;
      expect(new Set(weight.parts.map(({ name }) => index.weight_map[name])).size).toBe(1);
    }
    const weights = await loadWeights(gpu, b, graphOf(b.config, 'config.json'));
    for (const weight of weights.values()) weight.release();
    await a.close();
    await b.close();

    // Read again and written into one file, they are the file that was never cut.
    const joined = memoryOutput();
    await compress(memoryFolder('shards', files), joined, { gpu, format: 'keep' });
    expect(Buffer.compare(joined.files.get('model.safetensors')!, whole.files['model.safetensors']!)).toBe(0);
  });
});

test('a tensor larger than a file has one of its own', async () => {
  const { files, report } = await compressed('q8_0', 1);
  const filled = report.tensors.filter(({ bytesAfter }) => bytesAfter > 0);
  expect(Object.keys(files).filter((name) => name.endsWith('.safetensors'))).toHaveLength(filled.length);
});

test('what fits into one file needs no index', async () => {
  const { files } = await compressed('q4_0', 100_000_000);
  expect(Object.keys(files)).toContain('model.safetensors');
  expect(Object.keys(files)).not.toContain(INDEX);
});

test('sizes that make no sense, and outputs of one file, are refused', async () => {
  for (const shardBytes of [0, -1, Number.NaN]) {
    const run = compress(await sample(), memoryOutput(), { gpu, shardBytes });
    await expect(run).rejects.toThrow(ArgumentError);
  }
  for (const name of ['out.safetensors', 'out.gguf']) {
    const run = compress(await sample(), memorySink(name), { gpu, shardBytes: SHARD_BYTES });
    await expect(run).rejects.toThrow(/Only a folder has its weights in several files/);
  }
});
