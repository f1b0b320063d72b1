import { readFileSync } from 'node:fs';
import * as v from 'valibot';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ArgumentError, CancelledError, ModelError } from '../../src/errors.ts';
import { type Checkpoint, openCheckpoint } from '../../src/files/checkpoint.ts';
import { memoryFolder } from '../../src/files/model-files.ts';
import { nodeFolder } from '../../src/files/node-files.ts';
import { memoryOutput, memorySink } from '../../src/files/sink.ts';
import { memorySource } from '../../src/files/source.ts';
import { blocksFormat } from '../../src/formats/blocks.ts';
import { packedFormat } from '../../src/formats/packed.ts';
import { formatByName } from '../../src/formats/registry.ts';
import { deviceNames } from '../../src/gpu/device-names.ts';
import type { Gpu } from '../../src/gpu/gpu.ts';
import { openGpu } from '../../src/gpu/open-gpu.ts';
import { compress } from '../../src/passes/compress.ts';
import { findWeight } from '../../src/passes/stored-weight.ts';
import { planVerification } from '../../src/verify/plan.ts';
import { type Report, ReportSchema, reportMarkdown } from '../../src/verify/report.ts';
import { measureStack, type Stack, stackBytes } from '../../src/verify/stack-speed.ts';
import { verify } from '../../src/verify/verify.ts';
import { EVERYTHING } from './formats-under-test.ts';
import { openTestGpu } from './open-test-gpu.ts';

const FOLDER = 'models/union-7m';
const bytes = readFileSync(`${FOLDER}/validation.tokens.u16`);
const tokens = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);

/** As the 1B stack, in small; the width of the feed-forward part fits every block and leaves a rest behind the last whole block of random numbers. */
const STACK: Stack = {
  description: 'small layers',
  shapes: { hidden: 256, ffn: 4352, layers: 1, heads: 4, kvHeads: 2, headDim: 64, vocabulary: 128 },
};
const QUICK = { rounds: 1, prefillTokens: 8, decodeTokens: 2, stack: STACK };

let gpu: Gpu;
let original: Checkpoint;
let compressed: Checkpoint;
let files: ReadonlyMap<string, Uint8Array<ArrayBuffer>>;
beforeAll(async () => {
  gpu = await openTestGpu();
  original = await openCheckpoint(await nodeFolder(FOLDER));
  const output = memoryOutput();
  await compress(await nodeFolder(FOLDER), output, { gpu, format: 'q4_0' });
  files = output.files;
  compressed = await openCheckpoint(memoryFolder('q4_0', Object.fromEntries(files)));
});
afterAll(() => gpu.close());

/** The report as a reader of its JSON sees it, after checking it against its schema. */
const asJson = (report: Report): Report => v.parse(ReportSchema, JSON.parse(JSON.stringify(report)));

test('reports what 4 bits cost, beside a control that fails, within the memory that it said it would take', async () => {
  const before = gpu.memory.bytesInUse;
  gpu.memory.resetPeak();
  const stages: string[] = [];
  let used = 0;
  const report = await verify(original, compressed, {
    gpu,
    tokens,
    window: 64,
    windows: 3,
    speed: QUICK,
    maxPerplexityIncrease: 0.05,
    onProgress: ({ stage, done, total }) => {
      if (done === total) stages.push(stage);
      // The synthetic layers, which come last, are estimated for longer prompts than software devices get.
      if (stage !== 'speed of large layers') used = gpu.memory.peakBytes - before;
    },
  });
  expect(gpu.memory.bytesInUse).toBe(before);
  expect(used).toBeLessThan(1.02 * report.memory.gpu.peak);
  expect(used).toBeGreaterThan(0.9 * report.memory.gpu.peak);
  expect(asJson(report)).toEqual(report);
  const { name, driver } = deviceNames(gpu);
  expect(report.device).toMatchObject({ name, driver });
  const { perplexity, control, increaseInterval, kl, top1Agreement, sensitivity } = report.accuracy!;
  expect(Math.abs(perplexity.compressed! / perplexity.original - 1)).toBeLessThan(0.05);
  // It runs two of the three windows, so that the original's perplexity on all of them is none to hold it to.
  expect(control).toMatchObject({ windows: 2, window: 64, ratio: perplexity.control! / control!.original });
  expect(control!.original).not.toBeCloseTo(perplexity.original, 3);
  expect(control!.ratio).toBeGreaterThan(20);
  expect(report.checks.find(({ name }) => name === 'control')!.measured).toBe(control!.ratio);
  expect(increaseInterval).toBeNull();
  expect(report.notes).toEqual([expect.stringMatching(/^Too few windows for this gate/)]);
  expect(kl!.mean).toBeGreaterThan(0);
  expect(kl!.p99).toBeGreaterThan(kl!.mean);
  expect(top1Agreement).toBeGreaterThan(0.8);
  expect(sensitivity.map(({ layer }) => layer)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  expect(sensitivity.some(({ lossIncrease }) => lossIncrease > 0)).toBe(true);
  // f32 arithmetic against f64 through 8 layers; quantization is not in it, both use the same dequantized weights.
  expect(report.kernels!.maxRelativeError).toBeLessThan(1e-5);
  expect(report.kernels!.nonFinite).toEqual([]);
  expect(report.speed!.stack).toMatchObject({ model: 'small layers', format: 'q4_0', rounds: 1 });
  // 4 bits and an f16 scale for 32 weights.
  expect(report.size.tensors.find(({ format }) => format === 'q4_0')!.relativeError).toBeLessThan(0.15);
  expect(report.size.original).toBeGreaterThan(2.5 * report.size.compressed);
  expect(report.size.onGpu.original).toBeGreaterThan(2.5 * report.size.onGpu.compressed);
  expect(report.gate).toMatchObject({ passed: true });
  expect(reportMarkdown(report)).toMatch(/control, rows shuffled/);
  expect([...new Set(stages)]).toEqual(['sizes', 'accuracy', 'speed', 'speed of large layers']);
});

test('the gate says no, and names what cost most and the next larger format', async () => {
  const report = await verify(original, compressed, {
    gpu,
    tokens,
    window: 64,
    windows: 1,
    speed: false,
    maxPerplexityIncrease: -0.5,
  });
  expect(asJson(report).gate).toMatchObject({ passed: false });
  const { costliest } = report.gate!;
  expect(costliest).toHaveLength(5);
  expect(costliest.map(({ next }) => next)).toEqual(Array(5).fill('q5_0'));
  expect(costliest[0]!.name).toMatch(/_proj\.weight$/);
  expect(costliest.map(({ cost }) => cost)).toEqual(costliest.map(({ cost }) => cost).sort((a, b) => b - a));
  expect(reportMarkdown(report)).toMatch(/FAILED[\s\S]*_proj\.weight \| q4_0 \|.*\| q5_0 \|/);
});

test('what the compressed model computes that is not finite is named by layer, and fails the gate', async () => {
  const file = files.get('model.safetensors')!.slice();
  const weight = findWeight(compressed, 'model.layers.3.mlp.up_proj.weight');
  if (weight.kind !== 'quantized') throw new Error('The test needs a quantized weight.');
  // The first scale becomes a NaN.
  const headerBytes = 8 + Number(new DataView(file.buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(file.subarray(8, headerBytes)));
  new DataView(file.buffer).setUint16(headerBytes + header[weight.parts[1]!.name].data_offsets[0], 0x7e00, true);
  const damaged = await openCheckpoint(
    memoryFolder('damaged', { ...Object.fromEntries(files), 'model.safetensors': file }),
  );
  const report = await verify(original, damaged, {
    gpu,
    tokens,
    window: 64,
    windows: 1,
    maxPerplexityIncrease: 0.01,
  });
  expect(report.kernels!.nonFinite[0]).toBe('layers.3.up');
  expect(report.accuracy).toBeNull();
  expect(asJson(report).gate).toMatchObject({ passed: false, increase: null });
  expect(reportMarkdown(report)).toMatch(/NaN or infinite: layers\.3\.up, /);
});

test('scores one model by itself, under "original"', async () => {
  const report = await verify(original, undefined, { gpu, tokens, window: 64, windows: 1 });
  expect(report.accuracy!.perplexity).toEqual({ original: expect.any(Number), compressed: null, control: null });
  expect(asJson(report).speed).toBeNull();
});

test('cuts a text up with the tokenizer of the original', async () => {
  const text = readFileSync(`${FOLDER}/validation.txt`, 'utf8').slice(0, 2000);
  const options = { gpu, window: 64, windows: 1 };
  const byText = await verify(original, undefined, { ...options, text });
  const byTokens = await verify(original, undefined, { ...options, tokens });
  expect(byText.accuracy).toEqual(byTokens.accuracy);
  const bare = await openCheckpoint(memorySource('bare', readFileSync(`${FOLDER}/model.safetensors`)));
  await expect(verify(bare, undefined, { ...options, text })).rejects.toThrow(
    /needs a model: a folder with config\.json and tokenizer\.json, or a \.gguf file/,
  );
});

test('compares sizes and weights of files of any architecture', async () => {
  const source = () => memorySource('bare.safetensors', readFileSync(`${FOLDER}/model.safetensors`));
  const sink = memorySink();
  await compress(source(), sink, { gpu, format: 'int8' });
  const bare = await openCheckpoint(source());
  const small = await openCheckpoint(memorySource('small.safetensors', sink.bytes()));
  const report = await verify(bare, small, { gpu });
  expect(asJson(report)).toMatchObject({ accuracy: null, kernels: null, speed: null, gate: null });
  const errors = report.size.tensors.filter(({ format }) => format === 'int8-g32').map((t) => t.relativeError!);
  expect(errors.length).toBeGreaterThan(0);
  expect(Math.max(...errors)).toBeLessThan(0.01);
  expect(Math.min(...errors)).toBeGreaterThan(0);
});

/** Layouts of one array, of several, of super-blocks, with scales for a matrix, and of integers; all kinds take minutes to compile on a CPU. */
const KINDS = ['f32', 'q4_0', 'q6_k', 'nvfp4', 'int4-g128-asym'].concat(
  EVERYTHING ? ['bf16', 'q8_0', 'q5_1', 'tq1_0', 'nf4', 'int8-g32'] : [],
);

/** Blocks of a matrix of another size than any of the layers, larger than a block of random weights. */
const LARGE_BLOCKS = blocksFormat(formatByName('q8_0'), {
  ...{ block: { rows: 400, columns: 400 }, rows: 800, k: 800, kept: 2 },
});

test.each([
  ...KINDS.map(formatByName),
  packedFormat(formatByName('q4_0'), { kind: 'n:m', keep: 2, of: 4 }),
  LARGE_BLOCKS,
])('times synthetic layers in $name', async (format) => {
  const before = gpu.memory.bytesInUse;
  gpu.memory.resetPeak();
  const { prefill, decode, rounds } = await measureStack(gpu, STACK, format, { rounds: 1 });
  const used = gpu.memory.peakBytes - before;
  expect(gpu.memory.bytesInUse).toBe(before);
  expect(used).toBeLessThan(1.02 * stackBytes(STACK, format));
  expect(rounds).toBe(1);
  for (const { f32, f16, compressed: small, ratio, interval } of [prefill, decode]) {
    expect(interval).toBeNull();
    for (const value of [f32, f16, small, ratio]) expect(value).toBeGreaterThan(0);
  }
});

test('models that do not fit as a whole keep their accuracy and lose their speed, with a note; synthetic layers go by themselves', async () => {
  const smaller = { ...STACK, shapes: { ...STACK.shapes, ffn: 512 } };
  const options = { tokens, window: 64, windows: 1, speed: { ...QUICK, stack: smaller } };
  const { memory } = planVerification(original, compressed, options);
  const stack = memory.gpu.stack!;
  expect(stack).toBeLessThan(memory.gpu.peak);
  const tight = await openGpu({ device: gpu.device, memoryBudget: memory.gpu.peak - 1 });
  const without = await verify(original, compressed, { ...options, gpu: tight });
  expect(without.accuracy).not.toBeNull();
  expect(asJson(without).speed).toMatchObject({ prefill: null, decode: null, stack: { model: 'small layers' } });
  expect(without.notes).toEqual([expect.stringMatching(/speed of the model was left out: it does not fit/)]);
  expect(without.memory.gpu.peak).toBeLessThan(memory.gpu.peak);
  expect(reportMarkdown(without)).toMatch(/\| 1B layers, decode/);
  expect(reportMarkdown(without)).not.toMatch(/\| decode|Speed: 0 paired/);
  expect(tight.memory.bytesInUse).toBe(0);
  tight.close();

  const large = { ...STACK, shapes: { ...STACK.shapes, hidden: 1024, ffn: 8192 } };
  const roomy = await openGpu({ device: gpu.device, memoryBudget: Math.ceil(1.25 * memory.gpu.peak) });
  const report = await verify(original, compressed, { ...options, speed: { ...QUICK, stack: large }, gpu: roomy });
  expect(report.speed!.prefill).not.toBeNull();
  expect(report.speed!.stack).toBeNull();
  expect(report.notes).toEqual([expect.stringMatching(/synthetic layers was left out.*budget/)]);
  roomy.close();
});

test('refuses what cannot be compared, in named errors', async () => {
  const other = await openCheckpoint(memoryFolder('other', { 'model.safetensors': emptySafetensors() }));
  await expect(verify(original, other, { gpu, tokens })).rejects.toThrow(ModelError);
  await expect(verify(original, compressed, { gpu, tokens: [1, 2, 3] })).rejects.toThrow(/3 tokens/);
  await expect(verify(original, compressed, { gpu, tokens, window: 1024 })).rejects.toThrow(ArgumentError);
  await expect(verify(original, compressed, { gpu, maxPerplexityIncrease: 0.01 })).rejects.toThrow(ArgumentError);
  await expect(verify(original, undefined, { gpu, tokens, maxPerplexityIncrease: 0.01 })).rejects.toThrow(
    /needs two models/,
  );
  await expect(verify(original, compressed, { gpu, tokens, signal: AbortSignal.abort() })).rejects.toThrow(
    CancelledError,
  );
});

/** A header of 8 bytes and no tensors. */
function emptySafetensors(): Uint8Array {
  const file = new Uint8Array(16);
  new DataView(file.buffer).setBigUint64(0, 8n, true);
  file.set(new TextEncoder().encode('{}      '), 8);
  return file;
}
