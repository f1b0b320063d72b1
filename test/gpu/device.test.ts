import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { create } from 'webgpu';
import { ArgumentError, DeviceLostError, NoDeviceError, OutOfMemoryError, ShaderError } from '../../src/errors.ts';
import type { Gpu } from '../../src/gpu/gpu.ts';
import { read, type Step } from '../../src/gpu/kernel.ts';
import { openGpu } from '../../src/gpu/open-gpu.ts';
import { addStep } from '../../src/kernels/add.ts';
import { checkStep } from '../../src/scheduler/check-step.ts';
import { openTestGpu } from './open-test-gpu.ts';

let gpu: Gpu;
beforeAll(async () => {
  gpu = await openTestGpu();
});
afterAll(() => gpu.close());

test('the self-test ran and found facts about the device', () => {
  expect(gpu.selfTest).toMatchObject({ packsToNearest: expect.any(Boolean), flushesDenormals: expect.any(Boolean) });
});

test('bytes survive an upload and a read-back, which is counted', async () => {
  const bytes = Uint8Array.from({ length: 4096 }, (_, i) => (i * 31) & 255);
  const buffer = gpu.memory.allocate(bytes.byteLength);
  const before = gpu.counters.readBacks;
  gpu.upload(buffer, bytes);
  expect(await gpu.readBack(buffer, 0, bytes.byteLength)).toEqual(bytes);
  expect(gpu.counters.readBacks).toBe(before + 1);
  gpu.memory.release(buffer);
});

test('a compile error names the file and line that it stands on', async () => {
  const source = {
    name: 'broken',
    code: '\n\n@compute @workgroup_size(1)\n\n\n\n\nfn main() { let x: u32 = nonsense; }',
    includes: [],
  };
  const failing = gpu.scheduler.run([{ label: 'broken', kernel: { source }, bindings: [], grid: [1, 1, 1] }]);
  await expect(failing).rejects.toThrow(ShaderError);
  await expect(failing).rejects.toThrow(/shaders\/broken\.wgsl:8/);
});

test('work on a destroyed device ends in a named error, and a fresh one works', async () => {
  const doomed = await openGpu();
  const buffer = doomed.memory.allocate(1024);
  doomed.device.destroy();
  await expect(doomed.readBack(buffer, 0, 1024)).rejects.toThrow(DeviceLostError);
  const fresh = await openGpu();
  expect(fresh.selfTest).toBeDefined();
  fresh.close();
});

test('a device that is lost while batches are in flight rejects once, and leaves no rejection that nobody handles', async () => {
  const doomed = await openTestGpu();
  const size = 16;
  const [a, out] = [doomed.memory.allocate(size), doomed.memory.allocate(size)];
  const step = addStep({ a: { buffer: a }, b: { buffer: a }, out: { buffer: out }, count: 4 });
  const { queue } = doomed.device;
  const done = queue.onSubmittedWorkDone.bind(queue);
  let waits = 0;
  Object.defineProperty(queue, 'onSubmittedWorkDone', {
    value: () => {
      // Two batches of 64 steps are waited for at once.
      if (++waits === 2) doomed.device.destroy();
      return done();
    },
  });
  const unhandled: unknown[] = [];
  const listen = (reason: unknown) => unhandled.push(reason);
  process.on('unhandledRejection', listen);
  try {
    const run = doomed.scheduler.run(new Array<Step>(200).fill(step), { signal: new AbortController().signal });
    await expect(run).rejects.toThrow(DeviceLostError);
    await new Promise((resolve) => setTimeout(resolve, 300));
  } finally {
    process.off('unhandledRejection', listen);
  }
  expect(waits).toBeGreaterThanOrEqual(2);
  expect(unhandled).toEqual([]);
});

test('steps that exceed what the device binds or launches are refused by name', async () => {
  const { maxStorageBufferBindingSize: most, minStorageBufferOffsetAlignment: apart } = gpu.limits;
  const step = (given: object, grid: [number, number, number] = [1, 1, 1]): Step => {
    const view = { buffer: { size: 2 * most, label: 'mine' } as GPUBuffer, offset: 0, size: 16, ...given };
    return { label: 'sum', kernel: { source: { name: 'none', code: '', includes: [] } }, bindings: [read(view)], grid };
  };
  const check = (one: Step) => () => checkStep(gpu.limits, one);
  expect(check(step({ offset: apart, size: most }))).not.toThrow();
  expect(check(step({ size: most + 4 }))).toThrow(OutOfMemoryError);
  expect(check(step({ size: undefined, offset: apart }))).toThrow(`this device binds ${most}`);
  expect(check(step({ offset: 4 }))).toThrow(/sum: "mine" is needed from byte 4 on/);
  expect(check(step({}, [65_536, 1, 1]))).toThrow(ArgumentError);
  expect(check({ ...step({}), weight: step({ offset: 8 }).bindings })).toThrow(ArgumentError);
});

test('a caller keeps the device that it brought', async () => {
  const guest = await openGpu({ device: gpu.device });
  guest.close();
  expect(await Promise.race([gpu.lost, Promise.resolve('alive')])).toBe('alive');
});

test('a backend that computes nothing is refused', async () => {
  const nothing = create(['backend=null']);
  expect(await nothing.requestAdapter()).not.toBeNull();
  vi.stubGlobal('navigator', { gpu: nothing });
  try {
    await expect(openGpu()).rejects.toThrow(NoDeviceError);
    await expect(openGpu()).rejects.toThrow(/null backend/);
  } finally {
    vi.unstubAllGlobals();
  }
});

test('a device that is none, and an option that there is not, are named', async () => {
  for (const device of [null, {}, { limits: {} }]) {
    const opened = openGpu({ device: device as unknown as GPUDevice });
    await expect(opened).rejects.toThrow(ArgumentError);
    await expect(opened).rejects.toThrow(/no GPUDevice/);
  }
  await expect(openGpu({ adaptor: 'x' } as object)).rejects.toThrow(/"adaptor".*Did you mean "adapter"/);
});
