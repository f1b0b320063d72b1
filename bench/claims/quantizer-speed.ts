import { allocateWeight, bootstrapInterval, formatByName, type Gpu, median, quantizeStep, type Step } from 'compressa';
import type { Claim, Measurement } from '../claim.ts';
import { type GgmlType, openGgml } from '../peers/ggml.ts';
import { gaussian, random } from '../random.ts';

const N = 2048;
const PAIRS = 11;

/** How much faster than ggml each quantizer has to be, and is meant to be, with the runs of a timing: short ones are chained. */
const FORMATS: readonly {
  readonly type: GgmlType;
  readonly least: number;
  readonly goal: number;
  readonly runs: number;
}[] = [
  { type: 'q8_0', least: 1, goal: 1, runs: 8 },
  { type: 'q4_0', least: 1, goal: 1, runs: 8 },
  { type: 'q4_k', least: 1, goal: 2, runs: 1 },
  { type: 'q6_k', least: 1, goal: 2, runs: 1 },
  { type: 'iq4_nl', least: 1, goal: 2, runs: 1 },
];

/** Seconds that a recorded chain takes on the device. */
async function secondsOn(gpu: Gpu, chain: { submit(): void }): Promise<number> {
  await gpu.idle();
  const start = performance.now();
  chain.submit();
  await gpu.idle();
  return (performance.now() - start) / 1000;
}

/**
 * Quantizing a matrix of f32 against ggml's own quantizer in two threads, in pairs that take turns, so that a busy moment hits both. What
 * the ratio is worth depends on the device: a software one has the same two cores, a GPU is another machine.
 */
export const claim: Claim = {
  name: 'quantizer speed',
  async measure(gpu) {
    const ggml = openGgml();
    if (typeof ggml === 'string') {
      return [{ claim: 'speed over ggml’s', threshold: 'ggml to compare with', measured: ggml, pass: false }];
    }
    const next = random(5);
    const weights = Float32Array.from({ length: N * N }, () => 0.02 * gaussian(next));
    const f32 = formatByName('f32');
    const dense = allocateWeight(gpu, f32, N, N, 'dense');
    const from = dense.parts[0]!.arrays[0]!;
    gpu.upload(from.buffer, new Uint8Array(weights.buffer), from.offset);
    const bad = { buffer: gpu.memory.allocate(4), size: 4 };
    const results: Measurement[] = [];
    for (const { type, least, goal, runs } of FORMATS) {
      const format = formatByName(type);
      const weight = allocateWeight(gpu, format, N, N, type);
      const to = weight.parts[0]!.arrays;
      const step: Step = quantizeStep({ source: f32, from, format, to, rows: N, k: N, bad });
      const chain = await gpu.scheduler.record(
        Array.from({ length: runs }, () => step),
        type,
      );
      const blocks = new Uint8Array(N * ggml.rowBytes(type, N));
      const ratios: number[] = [];
      const rates: number[] = [];
      // The first pair warms up.
      for (let pair = 0; pair <= PAIRS; pair++) {
        const ours = await secondsOn(gpu, chain);
        const start = performance.now();
        for (let i = 0; i < runs; i++) await ggml.quantizeInTwoThreads(type, weights, N, N, blocks);
        const theirs = (performance.now() - start) / 1000;
        if (pair === 0) continue;
        ratios.push(theirs / ours);
        rates.push((runs * N * N) / ours / 1e9);
      }
      chain.release();
      weight.release();
      const [low, high] = bootstrapInterval(ratios).map((v) => v.toFixed(2));
      results.push({
        claim: `${type}: ${N}x${N} over ggml in two threads`,
        threshold: `at least ${least}x${goal > least ? `; goal ${goal}x` : ''}`,
        measured: `${median(ratios).toFixed(2)}x (95%: ${low} to ${high}), ${median(rates).toFixed(3)} Gweights/s`,
        pass: median(ratios) >= least,
      });
    }
    dense.release();
    gpu.memory.release(bad.buffer);
    return results;
  },
};
