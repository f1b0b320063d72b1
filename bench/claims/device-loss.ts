import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { compress, type Gpu, nodeFolder, nodeOutput, openCheckpoint, openGpu, openModel, verify } from 'compressa';
import { doom, outcomeOf, seeded } from '../../test/gpu/doomed-gpu.ts';
import { type Claim, type Measurement, SAMPLE_MODEL } from '../claim.ts';

/** Moments of each kind of work at which the device is destroyed. */
const MOMENTS = 20;
/** Milliseconds after which work that has not ended hangs. */
const HUNG = 60_000;

type Work = (gpu: Gpu, target: string) => Promise<unknown>;

const WORKS: Readonly<Record<string, Work>> = {
  compress: async (gpu, target) =>
    compress(await nodeFolder(SAMPLE_MODEL), await nodeOutput(target), { gpu, format: 'q4_0' }),
  async run(gpu) {
    const model = await openModel(await nodeFolder(SAMPLE_MODEL), { gpu, maxPositions: 32 });
    try {
      const run = model.generate('My fellow citizens', { maxTokens: 6 });
      while (!(await run.next()).done);
    } finally {
      await model.close();
    }
  },
  async verify(gpu) {
    const bytes = await readFile(`${SAMPLE_MODEL}/validation.tokens.u16`);
    const tokens = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
    const original = await openCheckpoint(await nodeFolder(SAMPLE_MODEL));
    try {
      await verify(original, original, { gpu, tokens, window: 16, windows: 1, speed: false });
    } finally {
      await original.close();
    }
  },
};

async function measured(name: string, work: Work, folder: string): Promise<Measurement> {
  const target = join(folder, 'out');
  const sound = await openGpu();
  const calls = doom(sound);
  const whole = await outcomeOf(work(sound, target), HUNG);
  sound.close();
  await rm(target, { recursive: true, force: true });
  const outcomes = new Map<string, number>();
  let left = 0;
  let fresh = 0;
  let slowest = 0;
  const random = seeded(2026);
  for (let i = 0; i < MOMENTS; i++) {
    const doomed = await openGpu();
    // Not at the very end, where nothing may be left to fail.
    doom(doomed, Math.floor(random() * 0.95 * calls()), random() < 0.5);
    const started = performance.now();
    const outcome = await outcomeOf(work(doomed, target), HUNG);
    slowest = Math.max(slowest, performance.now() - started);
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    doomed.close();
    left += (await readdir(folder)).length;
    await rm(target, { recursive: true, force: true });
    // Its self-test computes.
    const next = await openGpu();
    if (next.selfTest) fresh++;
    next.close();
  }
  const counts = [...outcomes].map(([outcome, count]) => `${count} ${outcome}`).join(', ');
  return {
    claim: `${name}: the device destroyed at ${MOMENTS} random moments of ${calls()} calls`,
    threshold: 'a DeviceLostError each time, no file left, and a fresh device works',
    measured: `${counts}; ${left} files left; ${fresh} fresh devices worked; at most ${(slowest / 1000).toFixed(1)} s`,
    pass: whole === 'done' && outcomes.get('DeviceLostError') === MOMENTS && left === 0 && fresh === MOMENTS,
  };
}

/** A device that is lost ends any work with a named error, and leaves nothing behind. */
export const claim: Claim = {
  name: 'device loss',
  async measure() {
    const folder = await mkdtemp(join(tmpdir(), 'compressa-claim-'));
    try {
      const results: Measurement[] = [];
      for (const [name, work] of Object.entries(WORKS)) results.push(await measured(name, work, folder));
      return results;
    } finally {
      await rm(folder, { recursive: true });
    }
  },
};
