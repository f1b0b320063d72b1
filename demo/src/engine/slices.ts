import type { Gpu, Step } from '../../../src/index.ts';

/**
 * Runs steps that change nothing that is drawn weight by weight. A software device does them with the processors that draw the page: there it takes a step at a time,
 * so that what one moves is drawn between them.
 * @throws as `Scheduler.run`
 */
export async function runSliced(gpu: Gpu, steps: readonly Step[]): Promise<void> {
  if (!gpu.description.software) return gpu.scheduler.run(steps);
  await gpu.compiler.prepare(steps);
  for (const step of steps) {
    await gpu.scheduler.run([step]);
    await gpu.idle();
  }
}
