import { factorHessian, formatByName, type Gpu, gptq, Profile, quantizeStep } from 'compressa';
import type { Claim, Measurement } from '../claim.ts';
import { calibrationWindows, qualityOf, validationWindows } from '../model-quality.ts';
import { gaussian, random } from '../random.ts';

const N = 4096;
const FORMAT = 'int4-g128-asym';
/** Kernels that multiply matrices. */
const PRODUCTS = /transposed_product/;
/** Seconds that the sample model may take. */
const MOST_SECONDS = 240;

/** Where the time of GPTQ goes, and how long the sample model takes: reading, calibration on 64 windows, GPTQ with its refinement, writing. */
export const claim: Claim = {
  name: 'gptq speed',
  async measure(gpu, takes) {
    const results: Measurement[] = [];
    if (takes('products')) results.push(await shareOfProducts(gpu, 0));
    if (takes('model')) results.push(await wholeModel(gpu));
    return results;
  },
};

/** H of inputs of which neighbours are correlated and some are larger: positive definite by construction. */
const hessianAt = (i: number, j: number): number => 0.9 ** Math.abs(i - j) * (1 + (i % 17)) * (1 + (j % 17));

async function shareOfProducts(gpu: Gpu, rounds: number): Promise<Measurement> {
  const next = random(11);
  const f32 = formatByName('f32');
  const format = formatByName(FORMAT);
  const buffer = (bytes: number) => ({ buffer: gpu.memory.allocate(bytes), size: bytes });
  const bytes = 4 * N * N;
  const [weights, hessian, bad] = [buffer(bytes), buffer(bytes), buffer(4)];
  const arrays = format.arrays.map(({ elementsPerRow, type }) =>
    buffer(N * elementsPerRow(N) * (type === 'F16' ? 2 : 1)),
  );
  gpu.upload(weights.buffer, new Uint8Array(Float32Array.from({ length: N * N }, () => 0.02 * gaussian(next)).buffer));
  const h = Float32Array.from({ length: N * N }, (_, at) => hessianAt(Math.floor(at / N), at % N));
  gpu.upload(hessian.buffer, new Uint8Array(h.buffer));
  await gpu.scheduler.run([quantizeStep({ source: f32, from: weights, format, to: arrays, rows: N, k: N, bad })]);

  const profile = new Profile(gpu);
  await profiled(gpu, profile, async () => {
    const diagonal = Float32Array.from({ length: N }, (_, i) => hessianAt(i, i));
    const factored = await factorHessian(gpu, hessian, diagonal);
    if (typeof factored === 'string') throw new Error(factored);
    await gptq(gpu, { view: weights, rows: N, k: N }, format, arrays, factored, { rounds });
    factored.release();
  });
  for (const { buffer: own } of [weights, hessian, bad, ...arrays]) gpu.memory.release(own);
  console.error(profile.table());
  const sum = (times: typeof profile.times) => times.reduce((total, { milliseconds }) => total + milliseconds, 0);
  const share = sum(profile.times.filter(({ kernel }) => PRODUCTS.test(kernel))) / sum(profile.times);
  return {
    claim: `GPTQ of ${N} x ${N} weights to ${FORMAT}, with the factorization: time in products of matrices`,
    threshold: 'at least 60%',
    measured: `${(100 * share).toFixed(1)}% of ${(sum(profile.times) / 1000).toFixed(1)} s`,
    pass: share >= 0.6,
  };
}

/** Everything that `work` runs is timed step by step. */
async function profiled(gpu: Gpu, profile: Profile, work: () => Promise<void>): Promise<void> {
  const { scheduler } = gpu;
  const run = scheduler.run.bind(scheduler);
  Object.assign(scheduler, { run: (steps, options) => run(steps, { ...options, profile }) } satisfies {
    run: typeof run;
  });
  try {
    await work();
  } finally {
    Reflect.deleteProperty(scheduler, 'run');
  }
}

async function wholeModel(gpu: Gpu): Promise<Measurement> {
  const options = { format: 'int4-g64-asym', method: 'gptq', calibration: { windows: calibrationWindows() } } as const;
  const { report } = await qualityOf(gpu, options, validationWindows().slice(0, 1));
  return {
    claim: 'the sample model to int4-g64-asym: calibration on 64 windows, GPTQ and refinement, whole run',
    threshold: `under ${MOST_SECONDS} s`,
    measured: `${report.seconds.toFixed(0)} s`,
    pass: report.seconds < MOST_SECONDS,
  };
}
