import { afterAll, beforeAll, expect, test } from 'vitest';
import { onnxContestants } from '../../bench/contestants/onnx-contestants.ts';
import type { Contestant } from '../../bench/suite/contestant.ts';
import type { Case, SuiteContext } from '../../bench/suite/suite.ts';
import { FORMATS, linearCase, linearSuite } from '../../bench/suite/suites/linear.ts';
import type { Gpu } from '../../src/gpu/gpu.ts';
import { openTestGpu } from './open-test-gpu.ts';

let gpu: Gpu;
beforeAll(async () => {
  gpu = await openTestGpu();
});
afterAll(() => gpu.close());

/** Each contestant's error and what is allowed, after a run that has to leave it unchanged. */
async function errorsOf(
  one: Case,
  peers: readonly Contestant[] = [],
  cycledBytes = 2 ** 20,
): Promise<Record<string, boolean>> {
  const context: SuiteContext = {
    ...{ gpu, quick: true, peers: [], cycledBytes },
    openModel: () => Promise.reject(new Error('no model')),
  };
  const before = gpu.memory.bytesInUse;
  const opened = await one.open(context);
  const right: Record<string, boolean> = {};
  for (const contestant of peers.length > 0 ? peers : opened.contestants) {
    const prepared = await contestant.prepare(opened.work);
    if (!prepared) continue;
    await prepared.run();
    const error = await opened.reference!.error(await prepared.check!());
    right[contestant.name] = error <= (prepared.tolerance ?? opened.reference!.tolerance);
    await prepared.release();
  }
  opened.release();
  expect(gpu.memory.bytesInUse).toBe(before);
  return right;
}

test.each(FORMATS)('products in %s, ours and dense, are what the reference says', async (format) => {
  const dense = format === 'f32' ? {} : { 'dense f32': true };
  for (const [n, k, batch] of [
    [96, 512, 1],
    [300, 256, 5],
  ] as const) {
    expect(await errorsOf(linearCase(format, n, k, batch))).toEqual({ ours: true, ...dense });
  }
});

const OTHERS = ['q8_0@2:4', 'q4_0@2:4x16', 'f16@blocks-32x32-25%', 'q4_0, int8 inputs', 'q4_k, f16 sums'];

test.each(OTHERS)('so are those in %s, which only a filter reaches', async (form) => {
  const can = linearSuite.others!({ gpu, quick: true }).some(({ name }) => name.startsWith(`${form} `));
  // WebGPU's least has no f16.
  expect(can).toBe(!form.endsWith('f16 sums') || gpu.features.has('shader-f16'));
  if (!can) return;
  expect(await errorsOf(linearCase(form, 96, 512, 5))).toEqual({ ours: true, 'dense f32': true });
});

test('the register tile multiplies as ours does', async () => {
  expect(await errorsOf(linearCase('f32', 1024, 1024, 1024))).toEqual({ ours: true, 'register tile': true });
});

// `npm run peers` installs it.
const onnx = onnxContestants();
test.skipIf(typeof onnx === 'string')(
  'ONNX Runtime multiplies with the same weights, in sessions that take turns or one',
  async () => {
    if (typeof onnx === 'string') return;
    const errors = (format: string, cycledBytes: number) => errorsOf(linearCase(format, 96, 512, 5), onnx, cycledBytes);
    expect(await errors('f32', 2 ** 14)).toEqual({ 'ONNX Runtime': true });
    expect(await errors('q4_0', 2 ** 19)).toEqual({ 'ONNX Runtime': true, 'ONNX Runtime, int8 inputs': true });
    expect(await errors('nf4', 2 ** 14)).toEqual({});
  },
);
