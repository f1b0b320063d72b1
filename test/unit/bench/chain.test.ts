import { expect, test } from 'vitest';
import { timedChain } from '../../../bench/suite/chain.ts';
import type { Gpu } from '../../../src/gpu/gpu.ts';
import type { Step } from '../../../src/gpu/kernel.ts';

/** A device on which a step takes so many milliseconds, and submitting and waiting so many besides. */
function device(step: number, submit: number) {
  let time = 0;
  let [recorded, released] = [0, 0];
  const gpu = {
    scheduler: {
      record: async (steps: readonly Step[]) => {
        recorded++;
        return {
          submit: () => {
            time += submit + step * steps.length;
          },
          release: () => void released++,
        };
      },
    },
    idle: async () => {},
  } as unknown as Gpu;
  return { gpu, now: () => time, held: () => recorded - released };
}

const STEP = { label: 'step' } as Step;

test.each([
  ['a fast device', 0.1, 0.5],
  ['a faster one, whose submit takes longer', 0.03, 2],
])('of %s so many steps make a run that its submit does not show', async (_, step, submit) => {
  const { gpu, now, held } = device(step, submit);
  const { count, seconds } = await timedChain(gpu, STEP, now);
  expect(count * step).toBeGreaterThan(0.9 * (40 - submit));
  expect(seconds).toBeLessThan((1.06 * step) / 1000);
  expect(held()).toBe(0);
});

test('what takes long is done once, and what takes no time does not go on for ever', async () => {
  const slow = device(900, 1);
  expect(await timedChain(slow.gpu, STEP, slow.now)).toEqual({ count: 1, seconds: 0.901 });
  // Timed as it was compiled: it is not run again to be sure.
  expect(slow.now()).toBe(901);
  const none = device(0, 0);
  expect((await timedChain(none.gpu, STEP, none.now)).count).toBe(2048);
});
