import type { Gpu } from '../../src/gpu/gpu.ts';
import type { Scratch } from '../../src/gpu/scratch.ts';
import { ARITHMETIC_BYTES, arithmeticStep } from '../../src/verify/roofline-steps.ts';
import { withBuffers } from './buffers.ts';
import { middleOfThree } from './method.ts';

/** Long enough that its submit does not count, short enough to stand around every case. */
const MILLISECONDS = 15;
const MOST_TURNS = 4096;

interface Anchor {
  measure(): Promise<number>;
  release(): void;
}

/** A fixed piece of arithmetic, as long on this device as `MILLISECONDS`: its time says whether the clocks moved. */
export const openAnchor = (gpu: Gpu): Promise<Anchor> => withBuffers(gpu, (buffers) => anchorIn(gpu, buffers));

async function anchorIn(gpu: Gpu, buffers: Scratch): Promise<Anchor> {
  const operands = buffers.room(ARITHMETIC_BYTES.operands, 'anchor');
  const results = buffers.room(ARITHMETIC_BYTES.results, 'anchor');
  const record = (turns: number) =>
    gpu.scheduler.record([arithmeticStep(gpu, 'f32', { operands, results }, turns)], 'anchor');
  const time = (recording: { submit(): void }) =>
    middleOfThree(async () => {
      recording.submit();
      await gpu.idle();
    });
  // With one turn it is mostly the submit; the difference to more is what a turn takes.
  const few = await record(1);
  const more = await record(9);
  await time(few);
  await time(more);
  const turn = Math.max(1e-9, ((await time(more)) - (await time(few))) / 8);
  few.release();
  more.release();
  const anchor = await record(Math.min(MOST_TURNS, Math.max(1, Math.round(MILLISECONDS / 1000 / turn))));
  await time(anchor);
  return {
    measure: () => time(anchor),
    release: () => {
      anchor.release();
      buffers.release();
    },
  };
}
