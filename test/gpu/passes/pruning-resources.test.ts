import { afterAll, beforeAll, expect, test } from 'vitest';
import { CancelledError, OutOfMemoryError } from '../../../src/errors.ts';
import { memoryOutput } from '../../../src/files/sink.ts';
import type { Gpu } from '../../../src/gpu/gpu.ts';
import { openGpu } from '../../../src/gpu/open-gpu.ts';
import { compress, planCompression } from '../../../src/passes/compress.ts';
import type { CompressStage } from '../../../src/passes/compress-options.ts';
import { Threshold } from '../../../src/passes/pruning/find-mask.ts';
import { previewPruning } from '../../../src/passes/pruning/preview-pruning.ts';
import type { PruneRule } from '../../../src/passes/pruning/pruning.ts';
import type { Recipe, Rule } from '../../../src/passes/recipe.ts';
import type { ShrinkRule } from '../../../src/passes/shrinking/shrinking.ts';
import { openTestGpu } from '../open-test-gpu.ts';
import { modelFolder, smallConfig, windowsOf } from '../small-model.ts';

let gpu: Gpu;
beforeAll(async () => {
  gpu = await openTestGpu();
});
afterAll(() => gpu?.close());

const settings = smallConfig();
const calibration = { windows: windowsOf(101).slice(0, 2) };
const pruning = (prune: PruneRule, how: Partial<Rule> = {}): Recipe => ({
  version: 1,
  rules: [{ match: '*', role: 'linear', format: 'keep', ...how, prune }],
});
const shrinking = (shrink: ShrinkRule): Recipe => ({ version: 1, rules: [{ match: '*', format: 'keep' }], shrink });

const SPREAD = shrinking({ pattern: 'layers:1,heads:1,ffn:50%', score: 'obs', repair: 'refit', layers: 'sensitivity' });
const ROUNDS = pruning({ pattern: '50%', score: 'obs', repair: 'obs', rounds: 2 });
const OWL = pruning({ pattern: '50%', score: 'wanda', layers: 'owl' });

type Work = (signal?: AbortSignal) => Promise<unknown>;

const compressing = async (recipe: Recipe): Promise<Work> => {
  const { open } = await modelFolder(settings);
  return (signal) => compress(open(), memoryOutput(), { gpu, recipe, calibration, ...(signal && { signal }) });
};

/** Runs some work and calls `at` with the number of each submit. */
async function counting(work: Work, signal: AbortSignal | undefined, at: (submit: number) => void): Promise<unknown> {
  const { queue } = gpu.device;
  const submit = queue.submit.bind(queue);
  let submits = 0;
  Object.defineProperty(queue, 'submit', {
    configurable: true,
    value: (buffers: GPUCommandBuffer[]) => {
      submit(buffers);
      at(++submits);
    },
  });
  try {
    return await work(signal);
  } finally {
    Reflect.deleteProperty(queue, 'submit');
  }
}

test.each([
  ['rounds with repair', () => compressing(ROUNDS)],
  ['layers by outliers', () => compressing(OWL)],
  ['all matrices compared', () => compressing(pruning({ pattern: '50%@model' }))],
  [
    'one sweep, packed',
    () =>
      compressing(
        pruning({ pattern: '2:4', score: 'obs', repair: 'obs', packed: true }, { format: 'q4_0', method: 'gptq' }),
      ),
  ],
  ['structures, spread', () => compressing(SPREAD)],
  [
    'channels in rounds',
    () => compressing(shrinking({ pattern: 'ffn:50%', score: 'obs', repair: 'refit', rounds: 2 })),
  ],
  ['a budget of time', () => compressing(shrinking({ pattern: 'layers', keep: 0.9, budget: 'time', score: 'random' }))],
  [
    'a preview',
    async (): Promise<Work> => {
      const { open } = await modelFolder(settings);
      const recipe: Recipe = { ...pruning({ pattern: 'block:8x8:50%', packed: true }), shrink: { pattern: 'ffn:32' } };
      return (signal) => previewPruning(open(), { gpu, recipe, ...(signal && { signal }) });
    },
  ],
] as const)('%s: cancelled at any moment it leaves the GPU as it was', async (_, make) => {
  const work = await make();
  const before = gpu.memory.bytesInUse;
  let all = 0;
  await counting(work, undefined, (submit) => {
    all = submit;
  });
  expect(gpu.memory.bytesInUse).toBe(before);
  for (const moment of [0.15, 0.5, 0.85]) {
    const controller = new AbortController();
    const run = counting(work, controller.signal, (submit) => {
      if (submit === Math.ceil(moment * all)) controller.abort();
    });
    await expect(run).rejects.toThrow(CancelledError);
    expect(gpu.memory.bytesInUse).toBe(before);
  }
});

test.each([
  [SPREAD, ['choosing layers', 'comparing layers', 'shrinking']],
  [shrinking({ pattern: 'ffn:25%' }), ['shrinking']],
  [OWL, ['comparing layers']],
  [ROUNDS, ['round 1 of 2']],
] as const)('what goes before writing says how far it is, and can be cancelled there: %#', async (recipe, names) => {
  const { open } = await modelFolder(settings);
  const seen = new Map<string, CompressStage[]>();
  let firstWritten: number | undefined;
  await compress(open(), memoryOutput(), {
    ...{ gpu, recipe, calibration },
    onProgress: ({ done, stage }) => {
      if (stage) seen.set(stage.name, [...(seen.get(stage.name) ?? []), stage]);
      else firstWritten ??= done;
    },
  });
  expect([...seen.keys()]).toEqual(names);
  for (const steps of seen.values()) {
    const [{ total }] = steps as [CompressStage];
    expect(steps.map(({ done }) => done)).toEqual(Array.from({ length: total }, (_, i) => i + 1));
    expect(total).toBeGreaterThanOrEqual(2);
  }
  expect(firstWritten).toBeGreaterThan(0);
  const before = gpu.memory.bytesInUse;
  for (const name of names) {
    const controller = new AbortController();
    const { signal } = controller;
    const run = compress(open(), memoryOutput(), {
      ...{ gpu, recipe, calibration, signal },
      onProgress: ({ stage }) => {
        if (stage?.name === name && stage.done === 2) controller.abort();
      },
    });
    await expect(run).rejects.toThrow(CancelledError);
    expect(gpu.memory.bytesInUse).toBe(before);
  }
});

test('a threshold whose rooms do not all fit leaves none', async () => {
  const pattern = { kind: 'ranked', rows: 1, columns: 1, scope: 'model', remove: { fraction: 0.5 } } as const;
  const whole = await openGpu({ device: gpu.device });
  new Threshold(whole, pattern).release();
  expect(whole.memory.peakBytes).toBeGreaterThan(0);
  const small = await openGpu({ device: gpu.device, memoryBudget: whole.memory.peakBytes - 1 });
  expect(() => new Threshold(small, pattern)).toThrow(OutOfMemoryError);
  expect(small.memory.bytesInUse).toBe(0);
});

const OBS = { score: 'obs', repair: 'obs' } as const;
const REFIT = { score: 'obs', repair: 'refit' } as const;

test.each([
  ['2:4', pruning({ pattern: '2:4' })],
  ['50% of the model', pruning({ pattern: '50%@model' })],
  ['2:4, packed', pruning({ pattern: '2:4', packed: true }, { format: 'q8_0' })],
  ['blocks, packed', pruning({ pattern: 'block:32x32:75%', packed: true }, { format: 'q4_0' })],
  ['wanda', pruning({ pattern: '50%', score: 'wanda' })],
  ['sensitivity', pruning({ pattern: '50%', score: 'wanda', layers: 'sensitivity' })],
  ['obs', pruning({ pattern: '50%', ...OBS })],
  ['obs in rounds, quantized', pruning({ pattern: '50%', ...OBS, rounds: 2 }, { format: 'q4_0' })],
  ['one sweep, packed', pruning({ pattern: '2:4', ...OBS, packed: true }, { format: 'q4_0', method: 'gptq' })],
  ['channels by magnitude', shrinking({ pattern: 'ffn:50%' })],
  ['channels', shrinking({ pattern: 'ffn:50%', ...REFIT })],
  ['heads', shrinking({ pattern: 'heads:1', ...REFIT })],
  ['layers', shrinking({ pattern: 'layers:1' })],
  ['channels, spread', shrinking({ pattern: 'ffn:50%', ...REFIT, layers: 'sensitivity' })],
] as const)('the GPU memory that a plan names is what pruning takes: %s', async (_, recipe) => {
  // Wide enough that what is rounded up to sizes of the pool is little.
  const layers = recipe.shrink?.pattern === 'layers:1' ? 2 : 1;
  const wide = smallConfig('Llama', { hidden_size: 128, intermediate_size: 256, num_hidden_layers: layers });
  const { open } = await modelFolder(wide);
  const blind = [...recipe.rules.map(({ prune }) => prune?.score), recipe.shrink?.score].every((score) => !score);
  const inputs = blind && layers === 1 ? {} : { calibration };
  const { memory } = await planCompression(open(), { recipe, ...inputs });
  const before = gpu.memory.bytesInUse;
  gpu.memory.resetPeak();
  await compress(open(), memoryOutput(), { gpu, recipe, ...inputs });
  const taken = gpu.memory.peakBytes - before;
  expect(taken).toBeLessThanOrEqual(memory.gpu);
  expect(taken).toBeGreaterThan(0.5 * memory.gpu);
});
