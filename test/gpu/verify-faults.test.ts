import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { CancelledError, ModelError, OutOfMemoryError } from '../../src/errors.ts';
import { type Checkpoint, openCheckpoint } from '../../src/files/checkpoint.ts';
import { memoryFolder } from '../../src/files/model-files.ts';
import { nodeFolder } from '../../src/files/node-files.ts';
import { readSafetensors } from '../../src/files/safetensors-read.ts';
import { type TensorSpec, writeSafetensors } from '../../src/files/safetensors-write.ts';
import { memorySink } from '../../src/files/sink.ts';
import { memorySource } from '../../src/files/source.ts';
import type { Gpu } from '../../src/gpu/gpu.ts';
import { measureSpeed } from '../../src/index.ts';
import { graphOf } from '../../src/models/families.ts';
import { loadWeights } from '../../src/passes/load-weights.ts';
import { passes, type Report, reportMarkdown } from '../../src/verify/report.ts';
import { type VerifyOptions, verify } from '../../src/verify/verify.ts';
import { withDecoder } from '../../src/verify/with-decoder.ts';
import { openTestGpu } from './open-test-gpu.ts';

const FOLDER = 'models/union-7m';
const bytes = readFileSync(`${FOLDER}/validation.tokens.u16`);
const tokens = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
const CONFIG = JSON.parse(readFileSync(`${FOLDER}/config.json`, 'utf8'));
const QUICK = { tokens, window: 32, windows: 1, speed: false } as const;

let gpu: Gpu;
let original: Checkpoint;
beforeAll(async () => {
  gpu = await openTestGpu();
  original = await openCheckpoint(await nodeFolder(FOLDER));
});
afterAll(async () => {
  await original.close();
  gpu.close();
});

/** The bytes of a tensor, and their type where that changes; undefined leaves the tensor as it is. */
type Edit = (name: string, data: Uint8Array) => { type: TensorSpec['type']; data: Uint8Array } | undefined;

/** The sample model with some tensors, and parts of its config, changed. */
async function changed(edit: Edit, config: object = {}): Promise<Checkpoint> {
  const file = await readSafetensors(memorySource('sample', readFileSync(`${FOLDER}/model.safetensors`)));
  const tensors = await Promise.all(
    [...file.tensors.values()].map(async (info) => {
      const data = await file.read(info);
      return { ...info, data, ...edit(info.name, data) };
    }),
  );
  const sink = memorySink();
  const writer = await writeSafetensors(sink, tensors);
  for (const { name, data } of tensors) await writer.write(name, data);
  await writer.finish();
  const json = new TextEncoder().encode(JSON.stringify({ ...CONFIG, ...config }));
  return openCheckpoint(memoryFolder('changed', { 'config.json': json, 'model.safetensors': sink.bytes() }));
}

const NORM = 'model.layers.3.input_layernorm.weight';
const NAN_F16 = 0x7e00;
const withNaN: Edit = (name, data) => {
  if (name !== NORM) return undefined;
  new DataView(data.buffer).setUint16(6, NAN_F16, true);
  return { type: 'F16', data };
};
const failedChecks = ({ checks }: Report) => checks.filter(({ passed }) => !passed).map(({ name }) => name);
const run = (compressed: Checkpoint, options: Partial<VerifyOptions> = {}) =>
  verify(original, compressed, { ...QUICK, gpu, ...options });

test('each model runs by its own config, and the report says where they differ', async () => {
  const same = await run(await changed(() => undefined));
  expect(same.accuracy!.perplexity.compressed).toBe(same.accuracy!.perplexity.original);
  expect(same.notes).toEqual([]);

  const other = await run(await changed(() => undefined, { rope_theta: 77 }));
  const { original: before, compressed } = other.accuracy!.perplexity;
  expect(before).toBe(same.accuracy!.perplexity.original);
  expect(Math.abs(compressed! / before - 1)).toBeGreaterThan(0.001);
  expect(other.notes).toEqual([expect.stringMatching(/different operations: .*rotary\.inverseFrequencies/)]);

  const words = await changed(
    (name, data) => (name === 'model.embed_tokens.weight' ? { type: 'F16', data } : undefined),
    { vocab_size: CONFIG.vocab_size - 1 },
  );
  await expect(run(words)).rejects.toThrow(ModelError);
});

test('weights, values and logits that are no numbers are named, and the report says no', async () => {
  const report = await run(await changed(withNaN), { maxPerplexityIncrease: 1 });
  expect(report.size.tensors.find(({ name }) => name === NORM)!.nonFinite).toEqual({ original: 0, compressed: 1 });
  expect(report.kernels!.nonFinite[0]).toMatch(/^layers\.3\./);
  expect(failedChecks(report)).toEqual(['finite weights', 'finite values', 'kernel error']);
  expect(passes(report)).toBe(false);
  expect(reportMarkdown(report)).toContain(NORM);

  // Nothing but the original's own logits shows it here.
  const alone = await verify(await changed(withNaN), undefined, { ...QUICK, gpu });
  expect(alone.accuracy).toBeNull();
  expect(failedChecks(alone)).toEqual(['finite weights', 'finite logits']);
  expect(alone.notes).toEqual([expect.stringMatching(/not measured\. The model gives NaN/)]);
});

test('a control that scores like the model fails its check, and so does one that could not be made', async () => {
  const compressed = await changed(() => undefined);
  const blind = await run(compressed, {
    control: (arrays) => arrays,
  });
  expect(blind.checks.find(({ name }) => name === 'control')).toMatchObject({ passed: false, measured: 1 });
  expect(failedChecks(blind)).toEqual(['control']);
  expect(passes(blind)).toBe(false);

  const none = await run(compressed, {
    control: async () => {
      throw new OutOfMemoryError('There is no room.');
    },
  });
  expect(none.accuracy!.perplexity).toMatchObject({ compressed: expect.any(Number), control: null });
  expect(failedChecks(none)).toEqual(['control']);
  expect(none.notes).toEqual(['The control was left out. There is no room.']);
});

test('a weight beyond f16 leaves the speed in f16 out, and nothing else', async () => {
  const wide = await changed((name, data) => {
    if (name !== 'model.layers.7.mlp.gate_proj.weight') return undefined;
    const values = new Float32Array(data.byteLength / 2);
    values[5] = 70_000;
    return { type: 'F32', data: new Uint8Array(values.buffer) };
  });
  const speed = { rounds: 1, prefillTokens: 4, decodeTokens: 2, stack: false } as const;
  const report = await verify(wide, wide, { ...QUICK, gpu, speed });
  expect(report.accuracy).not.toBeNull();
  expect(report.speed!.prefill).toMatchObject({ f16: null, f32: expect.any(Number), compressed: expect.any(Number) });
  expect(report.notes).toEqual([expect.stringMatching(/^The speed in f16 was left out\..*70000/)]);
  expect(passes(report)).toBe(true);
});

test('can be cancelled in every stage, and gives back what it took', async () => {
  const compressed = await changed((name, data) =>
    name === 'model.layers.0.mlp.up_proj.weight'
      ? { type: 'F16', data: data.map((byte, i) => (i % 2 ? byte : 0)) }
      : undefined,
  );
  for (const stage of ['sizes', 'accuracy']) {
    const before = gpu.memory.bytesInUse;
    const controller = new AbortController();
    const cancelled = run(compressed, {
      signal: controller.signal,
      onProgress: (progress) => {
        if (progress.stage === stage) controller.abort();
      },
    });
    await expect(cancelled, stage).rejects.toThrow(CancelledError);
    expect(gpu.memory.bytesInUse, stage).toBe(before);
  }
});

test('a time budget never leaves fewer rounds than an interval takes', async () => {
  const graph = graphOf(original.config!, 'config.json');
  const weights = await loadWeights(gpu, original, graph);
  const { rounds, prefill } = await withDecoder(gpu, graph, weights, { positions: 8 }, (f32) =>
    measureSpeed({ f32, compressed: f32 }, { prefillTokens: 4, decodeTokens: 2, rounds: 15, seconds: 0 }),
  );
  for (const weight of weights.values()) weight.release();
  expect(rounds).toBe(6);
  expect(prefill.interval).toEqual([expect.any(Number), expect.any(Number)]);
});

test('tensors that only the compressed file has are listed, and files count with their headers', async () => {
  const file = async (names: readonly string[]) => {
    const sink = memorySink();
    const specs = names.map((name): TensorSpec => ({ name, type: 'F32', shape: [2, 4] }));
    const writer = await writeSafetensors(sink, specs);
    for (const name of names) await writer.write(name, new Uint8Array(new Float32Array(8).fill(1).buffer));
    await writer.finish();
    return sink.bytes();
  };
  const [a, b] = [await file(['both']), await file(['both', 'right', 'more'])];
  const open = (name: string, content: Uint8Array) => openCheckpoint(memorySource(`${name}.safetensors`, content));
  const report = await verify(await open('a', a), await open('b', b), { gpu });
  expect(report.size).toMatchObject({
    original: 32,
    compressed: 32,
    files: { original: a.byteLength, compressed: b.byteLength },
    unpaired: { original: [] },
  });
  expect(report.size.unpaired.compressed.map(({ name }) => name).sort()).toEqual(['more', 'right']);
  expect(report.notes).toContainEqual(expect.stringMatching(/more/));
  // Bare files have no config that could say why one lacks a tensor.
  await expect(verify(await open('b', b), await open('a', a), { gpu })).rejects.toThrow(
    /"right" is missing|"more" is missing/,
  );
});
