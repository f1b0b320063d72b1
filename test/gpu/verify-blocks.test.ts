import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { CancelledError, OutOfMemoryError } from '../../src/errors.ts';
import { type Checkpoint, openCheckpoint } from '../../src/files/checkpoint.ts';
import { memoryFolder } from '../../src/files/model-files.ts';
import { nodeFolder } from '../../src/files/node-files.ts';
import { memoryOutput } from '../../src/files/sink.ts';
import type { Gpu } from '../../src/gpu/gpu.ts';
import { openGpu } from '../../src/gpu/open-gpu.ts';
import { graphOf } from '../../src/models/families.ts';
import { compress } from '../../src/passes/compress.ts';
import { planVerification } from '../../src/verify/plan.ts';
import type { Report } from '../../src/verify/report.ts';
import type { VerifyProgress } from '../../src/verify/stages.ts';
import { verify } from '../../src/verify/verify.ts';
import { openTestGpu } from './open-test-gpu.ts';

const FOLDER = 'models/union-7m';
const bytes = readFileSync(`${FOLDER}/validation.tokens.u16`);
const tokens = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
/** Every layer of the original takes 1.6 MB, one of its matrices 0.4 MB, the head 2 MB, both models 20 MB. */
const SMALL_BUDGET = 1_200_000;
const OPTIONS = { tokens, window: 48, windows: 2, speed: false } as const;

let gpu: Gpu;
let original: Checkpoint;
let compressed: Checkpoint;
let files: ReadonlyMap<string, Uint8Array<ArrayBuffer>>;
let roomy: Report;
beforeAll(async () => {
  gpu = await openTestGpu();
  original = await openCheckpoint(await nodeFolder(FOLDER));
  const output = memoryOutput();
  await compress(await nodeFolder(FOLDER), output, { gpu, format: 'q4_0' });
  files = output.files;
  compressed = await openCheckpoint(memoryFolder('q4_0', Object.fromEntries(files)));
  roomy = await verify(original, compressed, { ...OPTIONS, gpu });
});
afterAll(async () => {
  await original.close();
  gpu.close();
});

/** A pool of its own on the same device, with a budget. */
const withBudget = (memoryBudget: number) => openGpu({ device: gpu.device, memoryBudget });

/** The checkpoint, and how many bytes were read of each tensor. */
function counted(checkpoint: Checkpoint): { checkpoint: Checkpoint; read: Map<string, number> } {
  const read = new Map<string, number>();
  return {
    read,
    checkpoint: {
      ...checkpoint,
      read: async (tensor, ...rest) => {
        const got = await checkpoint.read(tensor, ...rest);
        const name = typeof tensor === 'string' ? tensor : tensor.name;
        read.set(name, (read.get(name) ?? 0) + got.byteLength);
        return got;
      },
    },
  };
}

/** Figures of two reports, which differ by rounding at most. */
function expectSameAccuracy(got: Report, wanted: Report): void {
  const [a, b] = [got.accuracy!, wanted.accuracy!];
  const close = (x: number, y: number, what: string) =>
    expect(Math.abs(x - y) / Math.max(1, Math.abs(y)), what).toBeLessThan(1e-6);
  for (const which of ['original', 'compressed', 'control'] as const) {
    close(a.perplexity[which]!, b.perplexity[which]!, which);
  }
  close(a.kl!.mean, b.kl!.mean, 'KL');
  close(a.kl!.p99, b.kl!.p99, 'p99');
  expect(a.top1Agreement).toBe(b.top1Agreement);
  expect(a.sensitivity.map(({ layer }) => layer)).toEqual(b.sensitivity.map(({ layer }) => layer));
  for (const [i, { lossIncrease }] of a.sensitivity.entries()) {
    close(lossIncrease, b.sensitivity[i]!.lossIncrease, `layer ${i}`);
  }
  close(got.kernels!.maxRelativeError!, wanted.kernels!.maxRelativeError!, 'kernels');
  expect(got.kernels!.nonFinite).toEqual([]);
}

test('a budget that cuts layers and the head changes no figure, and holds', async () => {
  const limits = { budget: SMALL_BUDGET, binding: Number.POSITIVE_INFINITY };
  const { run, memory } = planVerification(original, compressed, { ...OPTIONS, limits });
  const pieces = run!.blocks.passes[0]!.segments.filter(({ layer }) => layer === 3);
  expect(pieces.length).toBeGreaterThan(1);
  expect(run!.blocks.slices.length).toBeGreaterThan(1);
  expect(memory.gpu.weights.original + memory.gpu.weights.compressed).toBeGreaterThan(10 * SMALL_BUDGET);

  const tight = await withBudget(SMALL_BUDGET);
  const progress: VerifyProgress[] = [];
  const report = await verify(original, compressed, {
    ...OPTIONS,
    gpu: tight,
    onProgress: (one) => progress.push(one),
  });
  expectSameAccuracy(report, roomy);
  expect(report.notes).toEqual([]);
  expect(tight.memory.peakBytes).toBeLessThanOrEqual(SMALL_BUDGET);
  expect(tight.memory.peakBytes).toBeLessThanOrEqual(report.memory.gpu.peak);
  expect(tight.memory.peakBytes).toBeGreaterThan(0.8 * report.memory.gpu.peak);
  expect(tight.memory.bytesInUse).toBe(0);
  tight.close();

  const accuracy = progress.filter(({ stage }) => stage === 'accuracy');
  const whats = [...new Set(accuracy.map(({ what }) => what))];
  expect(whats).toEqual(expect.arrayContaining(['embedding', 'layer 1 of 8', 'layer 8 of 8']));
  expect(whats).toContain(`head, slice 1 of ${run!.blocks.slices.length}`);
  expect(accuracy.at(0)).toMatchObject({ done: 0 });
  expect(accuracy.at(-2)!.done).toBe(accuracy.at(-1)!.total);
});

test('without a budget, the estimate is what blocks take', async () => {
  const own = await withBudget(Number.POSITIVE_INFINITY);
  const report = await verify(original, compressed, { ...OPTIONS, gpu: own });
  expect(own.memory.peakBytes).toBeLessThanOrEqual(report.memory.gpu.peak);
  expect(own.memory.peakBytes).toBeGreaterThan(0.9 * report.memory.gpu.peak);
  own.close();
});

test('each weight is read once for all streams, and of the embedding the rows of the text only', async () => {
  const [a, b] = [counted(original), counted(compressed)];
  await verify(a.checkpoint, b.checkpoint, { ...OPTIONS, gpu });
  const graph = graphOf(original.config!, 'config.json');
  for (const { name, role } of graph.weights) {
    if (role === 'embedding') continue;
    // Sizes compare every value; then the weight is loaded.
    expect(a.read.get(name), name).toBe(2 * original.tensors.get(name)!.byteLength);
  }
  // The reference reads the compressed model's, too.
  for (const [name, read] of b.read) {
    if (name.includes('embed_tokens')) continue;
    expect(read, name).toBe(3 * compressed.tensors.get(name)!.byteLength);
  }
});

test('the budget also holds for graphs that differ, one after another', async () => {
  const config = { ...JSON.parse(readFileSync(`${FOLDER}/config.json`, 'utf8')), rope_theta: 77 };
  const contents = { ...Object.fromEntries(files), 'config.json': new TextEncoder().encode(JSON.stringify(config)) };
  const other = await openCheckpoint(memoryFolder('other', contents));
  const wanted = await verify(original, other, { ...OPTIONS, gpu });
  const tight = await withBudget(SMALL_BUDGET);
  const got = await verify(original, other, { ...OPTIONS, gpu: tight });
  expectSameAccuracy(got, wanted);
  expect(tight.memory.peakBytes).toBeLessThanOrEqual(SMALL_BUDGET);
  expect(tight.memory.bytesInUse).toBe(0);
  tight.close();
  // The original ran its own graph, and layers of the other stood in it.
  expect(got.accuracy!.perplexity.original).toBeCloseTo(roomy.accuracy!.perplexity.original, 4);
  expect(Math.abs(got.accuracy!.perplexity.compressed! / roomy.accuracy!.perplexity.compressed! - 1)).toBeGreaterThan(
    0.001,
  );
  expect(got.accuracy!.sensitivity.map(({ lossIncrease }) => lossIncrease.toFixed(5))).toEqual(
    roomy.accuracy!.sensitivity.map(({ lossIncrease }) => lossIncrease.toFixed(5)),
  );
});

test('only a weight that does not fit by itself, or a window that is too long, is refused', async () => {
  const before = gpu.memory.bytesInUse;
  const least = await withBudget(380_000);
  await expect(verify(original, compressed, { ...OPTIONS, gpu: least })).rejects.toThrow(OutOfMemoryError);
  await expect(verify(original, compressed, { ...OPTIONS, gpu: least })).rejects.toThrow(
    /"model\.layers\.\d\.mlp\.\w+_proj\.weight" takes 393216 bytes.*380000.*--gpu-memory/,
  );
  expect(least.memory.bytesInUse).toBe(0);
  least.close();
  const some = await withBudget(500_000);
  await expect(verify(original, compressed, { ...OPTIONS, gpu: some })).rejects.toThrow(/48 tokens.*smaller --window/);
  some.close();
  // Logits of 48 tokens take 768 KiB: slices of the head are bound instead.
  const narrow = await openGpu({ device: gpu.device, bindingLimit: 256 * 1024 });
  const report = await verify(original, compressed, { ...OPTIONS, windows: 1, gpu: narrow });
  expect(report.accuracy).not.toBeNull();
  await expect(verify(original, compressed, { ...OPTIONS, window: 256, gpu: narrow })).rejects.toThrow(
    /--window of at most 85 /,
  );
  narrow.close();
  expect(gpu.memory.bytesInUse).toBe(before);
});

test('cancelled anywhere, it gives back all that it took', async () => {
  const tight = await withBudget(SMALL_BUDGET);
  for (const share of [0, 0.02, 0.4, 0.8, 0.99]) {
    const controller = new AbortController();
    let after = 0;
    const cancelled = verify(original, compressed, {
      ...OPTIONS,
      windows: 1,
      gpu: tight,
      signal: controller.signal,
      onProgress: ({ stage, done, total }) => {
        if (controller.signal.aborted) after++;
        if (stage === 'accuracy' && done >= share * total) controller.abort();
      },
    });
    await expect(cancelled, `${share}`).rejects.toThrow(CancelledError);
    // No window begins once it is cancelled.
    expect(after, `${share}`).toBeLessThanOrEqual(1);
    expect(tight.memory.bytesInUse, `${share}`).toBe(0);
  }
  tight.close();
});
