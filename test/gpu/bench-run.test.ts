import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { QUICK } from '../../bench/suite/method.ts';
import { loadSample, loadStack } from '../../bench/suite/model-load.ts';
import { freshOutput } from '../../bench/suite/recorded.ts';
import { runCase } from '../../bench/suite/run-case.ts';
import { runSuites } from '../../bench/suite/run-suites.ts';
import type { Case, SuiteContext } from '../../bench/suite/suite.ts';
import { attentionCase } from '../../bench/suite/suites/attention.ts';
import { linearCase } from '../../bench/suite/suites/linear.ts';
import { modelCase, SAMPLE } from '../../bench/suite/suites/model.ts';
import { checkedRows, pickRows } from '../../bench/suite/suites/passes/checked-rows.ts';
import { passesSuite } from '../../bench/suite/suites/passes.ts';
import { rooflineSuite } from '../../bench/suite/suites/roofline.ts';
import { OutOfMemoryError } from '../../src/errors.ts';
import { nodeFolder } from '../../src/files/node-files.ts';
import type { Gpu } from '../../src/gpu/gpu.ts';
import { openGpu } from '../../src/gpu/open-gpu.ts';
import { SAMPLE as FOLDER } from './cli-bench.ts';
import { openTestGpu } from './open-test-gpu.ts';

let gpu: Gpu;
beforeAll(async () => {
  gpu = await openTestGpu();
});
afterAll(() => gpu.close());

const openModel = () => nodeFolder(FOLDER);
const contextOn = (device: Gpu): SuiteContext => ({
  ...{ gpu: device, quick: true, peers: [], cycledBytes: 2 ** 20 },
  openModel,
});
const ONCE = { ...QUICK, anchor: async () => 1, rounds: 1, leastRounds: 1, seconds: 0, sampleMilliseconds: 0 };

const tiny = loadStack(
  { hidden: 64, ffn: 128, heads: 4, kvHeads: 2, headDim: 16, vocabulary: 256, maxPositions: 64 },
  () => 2,
);
const passes = () => passesSuite.cases({ gpu, quick: true });
const CASES: Record<string, () => Case> = {
  attention: () => attentionCase('1B', 5, 3),
  'passes, quantize': () => passes().find(({ name }) => name.startsWith('quantize to q8_0'))!,
  'passes, prune': () => passes().find(({ name }) => name.startsWith('select 2:4'))!,
  'passes, factorize': () => passes().find(({ name }) => name.startsWith('randomized SVD'))!,
  'the sample model, a prompt': () =>
    modelCase({ model: SAMPLE, load: loadSample, format: 'q4_0', phase: 'prefill', count: 9, dense: [] }),
  'the sample model, written tokens': () =>
    modelCase({ model: SAMPLE, load: loadSample, format: 'w8a8', phase: 'decode', count: 4, dense: ['f32'] }),
  'layers, a prompt': () =>
    modelCase({ model: 'tiny', load: tiny, format: 'q4_0', phase: 'prefill', count: 9, dense: ['f32', 'f16'] }),
  'layers, written tokens': () =>
    modelCase({ model: 'tiny', load: tiny, format: 'q4_0', phase: 'decode', count: 4, dense: [] }),
};

test.each(Object.keys(CASES))('%s: all are right, and nothing stays', async (name) => {
  const before = gpu.memory.bytesInUse;
  const { result, failures } = await runCase(CASES[name]!(), contextOn(gpu), ONCE);
  expect(failures).toEqual([]);
  // Each was held to a reference.
  expect(result!.contestants.filter(({ error }) => error === null)).toEqual([]);
  expect(result!.contestants[0]!.name).toBe('ours');
  expect(gpu.memory.bytesInUse).toBe(before);
});

test('models that make something else are not timed', async () => {
  const one = modelCase({ model: 'tiny', load: tiny, format: 'q4_0', phase: 'decode', count: 4, dense: [] });
  const opened = await one.open(contextOn(gpu));
  const prepared = (await opened.contestants[0]!.prepare(opened.work))!;
  const { error, tolerance } = opened.reference!;
  const output = await prepared.check!();
  expect(await error(output)).toBeLessThanOrEqual(tolerance);
  const changed = (at: number, value: number) => error(output.with(at, value));
  expect(await changed(2, (output[2]! + 1) % 256)).toBeGreaterThan(tolerance);
  expect(await changed(9, output[9]! + 1)).toBeGreaterThan(tolerance);
  expect(await changed(9, Number.NaN)).toBeNaN();
  expect(await changed(0, 0.5)).toBe(Number.POSITIVE_INFINITY);
  await prepared.release();
  opened.release();
});

test.each(['quantize to q8_0', 'select 2:4', 'select 50% of rows'])(
  '%s: what is left unwritten, or wrong in the last row, is not timed',
  async (start) => {
    const opened = await passes()
      .find(({ name }) => name.startsWith(start))!
      .open(contextOn(gpu));
    const prepared = (await opened.contestants[0]!.prepare(opened.work))!;
    const { error, tolerance } = opened.reference!;
    // So that an output of before is there.
    await prepared.run();
    const checked = async () => error(await prepared.check!());
    expect(await checked()).toBeLessThanOrEqual(tolerance);
    const run = gpu.scheduler.run.bind(gpu.scheduler);
    const once = vi.spyOn(gpu.scheduler, 'run');
    once.mockImplementationOnce(async () => {});
    expect((await checked()) <= tolerance).toBe(false);
    once.mockImplementationOnce(async (steps) => {
      await run(steps);
      for (const { bindings } of steps) {
        const outputs = bindings.filter(({ access }) => access === 'read-write');
        for (const { buffer, offset = 0, size = buffer.size - offset } of outputs) {
          if (size >= 64) gpu.upload(buffer, new Uint8Array(64).fill(0xff), offset + size - 64);
        }
      }
    });
    expect((await checked()) <= tolerance).toBe(false);
    vi.restoreAllMocks();
    expect(await checked()).toBeLessThanOrEqual(tolerance);
    await prepared.release();
    opened.release();
  },
);

test('the rows of a pass that are checked are the first, the last and others between', () => {
  expect(checkedRows(4096, 4, 4)).toEqual({ starts: [0, 1364, 2728, 4092], each: 4, count: 16 });
  expect(checkedRows(512, 1, 3)).toEqual({ starts: [0, 256, 511], each: 1, count: 3 });
  expect(checkedRows(4, 4, 4)).toEqual({ starts: [0], each: 4, count: 4 });
  expect(checkedRows(256, 256, 1)).toEqual({ starts: [0], each: 256, count: 256 });
  const picked = pickRows(
    Float32Array.from({ length: 12 }, (_, i) => i),
    2,
    checkedRows(6, 1, 2),
  );
  expect([...picked]).toEqual([0, 1, 10, 11]);
});

test('an output that no step writes is NaN, whoever wrote it before', async () => {
  const buffer = gpu.memory.allocate(16);
  gpu.upload(buffer, new Uint8Array(Float32Array.of(1, 2, 3, 4).buffer));
  expect(await freshOutput(gpu, [], buffer, 4)).toEqual(new Float32Array(4).fill(Number.NaN));
  gpu.memory.release(buffer);
});

test('wherever memory runs out while a case is opened, nothing stays', async () => {
  const small = await openGpu({ memoryBudget: 48 * 2 ** 20 });
  try {
    const cases = [
      ...rooflineSuite.cases({ gpu: small, quick: true }).slice(0, 3),
      linearCase('q4_0', 64, 256, 2),
      attentionCase('1B', 2, 3),
      passes()[0]!,
      passes().find(({ name }) => name.startsWith('select'))!,
    ];
    for (const one of cases) {
      const before = small.memory.bytesInUse;
      const allocate = small.memory.allocate.bind(small.memory);
      for (let allowed = 0; ; allowed++) {
        let left = allowed;
        vi.spyOn(small.memory, 'allocate').mockImplementation((bytes, label) => {
          if (left-- === 0) throw new OutOfMemoryError('no more');
          return allocate(bytes, label);
        });
        const opened = await one.open(contextOn(small)).catch((error) => {
          expect(error).toBeInstanceOf(OutOfMemoryError);
        });
        vi.restoreAllMocks();
        opened?.release();
        expect(small.memory.bytesInUse, `${one.suite} ${one.name}, ${allowed} buffers`).toBe(before);
        if (opened) break;
      }
    }
  } finally {
    small.close();
  }
});

test('with little memory the device is measured, and what was measured before it was lost is kept', async () => {
  const small = await openGpu({ memoryBudget: 32 * 2 ** 20 });
  const bench = await runSuites({
    ...contextOn(small),
    engine: '0',
    environment: 'a test',
    suites: ['attention'],
    filter: 'prefill',
    onProgress: (_done, _total, name) => {
      if (!/^roofline (copy|triad|f32)$/.test(name)) small.device.destroy();
    },
  });
  expect(bench).toMatchObject({ complete: false, deviceLost: true, cycledBytes: 2 ** 20 });
  expect(bench.cases.map(({ name }) => name)).toEqual(['copy', 'triad', 'f32']);
  expect(bench.failures).toMatchObject([{ contestant: null, message: expect.stringMatching(/device was lost/) }]);
  expect(bench.device.name).not.toBe('');
  small.close();
});

test('a device that cannot be measured ends the run with the reason', async () => {
  const none = await openGpu({ memoryBudget: 4.5 * 2 ** 20 });
  const run = runSuites({ ...contextOn(none), engine: '0', environment: 'a test', suites: ['attention'] });
  await expect(run).rejects.toThrow(OutOfMemoryError);
  none.close();
});
