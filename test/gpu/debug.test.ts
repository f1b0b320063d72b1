import { afterEach, expect, test, vi } from 'vitest';
import { openGpu } from '../../src/gpu/open-gpu.ts';
import { addStep } from '../../src/kernels/add.ts';

afterEach(() => vi.restoreAllMocks());

/** What is printed at a level while a step runs, and while it is replayed twice. */
async function printed(debug: 0 | 1 | 2 | 3): Promise<{ run: string; replayed: string }> {
  let text = '';
  vi.spyOn(console, 'error').mockImplementation((line: unknown) => {
    text += `${line}\n`;
  });
  const gpu = await openGpu({ debug });
  const view = () => ({ buffer: gpu.memory.allocate(64), size: 64 });
  const steps = [addStep({ a: view(), b: view(), out: view(), count: 16 })];
  text = '';
  await gpu.scheduler.run(steps);
  const run = text;
  const recording = await gpu.scheduler.record(steps);
  text = '';
  recording.submit();
  recording.submit();
  await gpu.idle();
  // Times are printed once the GPU's stamps have been read, which nothing waits for.
  if (debug === 3 && gpu.features.has('timestamp-query')) {
    await vi.waitFor(() => expect(text.match(/layers\/add +1 +\d/g)).toHaveLength(2));
  }
  recording.release();
  gpu.close();
  return { run, replayed: text };
}

test('each level shows more, of steps that run and of steps that are replayed', async () => {
  expect(await printed(0)).toEqual({ run: '', replayed: '' });
  const step = /^add +layers\/add \[1, 1, 1\]$/gm;
  const one = await printed(1);
  expect(one.run.match(step)).toHaveLength(1);
  expect(one.replayed.match(step)).toHaveLength(2);
  expect(one.run).not.toContain('@compute');
  const two = await printed(2);
  expect(two.run).toContain('@compute');
  expect(two.run).not.toContain('Gop/s');
  const three = await printed(3);
  expect(three.run).toMatch(/kernel +steps +ms +GB\/s +Gop\/s\nlayers\/add +1 +\d/);
  expect(three.replayed.match(step)).toHaveLength(2);
});
