import { readFileSync } from 'node:fs';
import * as v from 'valibot';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ArgumentError, CancelledError, ModelError } from '../../src/errors.ts';
import { type Checkpoint, openCheckpoint } from '../../src/files/checkpoint.ts';
import { memoryFolder } from '../../src/files/model-files.ts';
import { nodeFolder } from '../../src/files/node-files.ts';
import { memoryOutput } from '../../src/files/sink.ts';
import type { Gpu } from '../../src/gpu/gpu.ts';
import { compress } from '../../src/passes/compress.ts';
import { ReportSchema, reportMarkdown } from '../../src/verify/report.ts';
import { verify } from '../../src/verify/verify.ts';
import { openTestGpu } from './open-test-gpu.ts';

const FOLDER = 'models/union-7m';
const bytes = readFileSync(`${FOLDER}/validation.tokens.u16`);
const tokens = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);

let gpu: Gpu;
let original: Checkpoint;
let compressed: Checkpoint;
beforeAll(async () => {
  gpu = await openTestGpu();
  original = await openCheckpoint(await nodeFolder(FOLDER));
  const output = memoryOutput();
  await compress(await nodeFolder(FOLDER), output, { gpu, format: 'q4_0' });
  compressed = await openCheckpoint(memoryFolder('q4_0', Object.fromEntries(output.files)));
});
afterAll(() => gpu.close());

test('reports what 4 bits cost, beside a control that fails, and leaves no memory behind', {
  timeout: 600_000,
}, async () => {
  const before = gpu.memory.bytesInUse;
  const report = await verify(original, compressed, {
    gpu,
    tokens,
    window: 64,
    windows: 2,
    speed: { rounds: 1, prefillTokens: 8, decodeTokens: 2 },
    maxPerplexityIncrease: 0,
  });
  expect(gpu.memory.bytesInUse).toBe(before);
  expect(() => v.parse(ReportSchema, JSON.parse(JSON.stringify(report)))).not.toThrow();
  const { perplexity, kl, top1Agreement, sensitivity } = report.accuracy!;
  expect(Math.abs(perplexity.compressed! / perplexity.original - 1)).toBeLessThan(0.05);
  expect(perplexity.control! / perplexity.original).toBeGreaterThan(20);
  expect(kl!.mean).toBeGreaterThan(0);
  expect(kl!.p99).toBeGreaterThan(kl!.mean);
  expect(top1Agreement).toBeGreaterThan(0.8);
  expect(sensitivity.map(({ layer }) => layer)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  // f32 arithmetic against f64 through 8 layers; quantization is not in it, both use the same dequantized weights.
  expect(report.kernels!.maxRelativeError).toBeLessThan(1e-5);
  expect(report.kernels!.nonFinite).toEqual([]);
  // 4 bits and an f16 scale for 32 weights.
  expect(report.size.tensors.find(({ format }) => format === 'q4_0')!.relativeError).toBeLessThan(0.15);
  expect(report.size.original).toBeGreaterThan(2.5 * report.size.compressed);
  expect(reportMarkdown(report)).toMatch(/control, rows shuffled/);
});

test('the gate says no and names what to give more bits', { timeout: 600_000 }, async () => {
  const report = await verify(original, compressed, {
    gpu,
    tokens,
    window: 64,
    windows: 1,
    speed: false,
    maxPerplexityIncrease: -0.5,
  });
  expect(report.gate!.passed).toBe(false);
  expect(report.gate!.costliest[0]).toMatch(/_proj\.weight$/);
  expect(reportMarkdown(report)).toMatch(/FAILED/);
});

test('scores one model by itself, under "original"', async () => {
  const report = await verify(original, undefined, { gpu, tokens, window: 64, windows: 1 });
  expect(report.accuracy!.perplexity).toEqual({ original: expect.any(Number), compressed: null, control: null });
  expect(report.speed).toBeNull();
});

test('refuses what cannot be compared, in named errors', async () => {
  const other = await openCheckpoint(memoryFolder('other', { 'model.safetensors': emptySafetensors() }));
  await expect(verify(original, other, { gpu, tokens })).rejects.toThrow(ModelError);
  await expect(verify(original, compressed, { gpu, tokens: [1, 2, 3] })).rejects.toThrow(/3 tokens/);
  await expect(verify(original, compressed, { gpu, tokens, window: 1024 })).rejects.toThrow(ArgumentError);
  await expect(verify(original, compressed, { gpu, maxPerplexityIncrease: 0.01 })).rejects.toThrow(ArgumentError);
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
