import {
  allocateWeight,
  type BufferView,
  bootstrapInterval,
  copyStep,
  formatByName,
  type Gpu,
  linearSteps,
  linearVariantsFor,
  median,
  quantizeStep,
  type Step,
  type Weight,
} from 'compressa';
import type { Claim } from '../claim.ts';

const N = 4096;
const PAIRS = 15;
/** Steps of one timed run, so that the cost of a submit is spread. */
const CHAIN = 8;
/** Timings of each variant, to choose the best. */
const ROUNDS = 7;

/** Seconds of one of CHAIN equal steps. */
async function seconds(gpu: Gpu, steps: readonly Step[]): Promise<number> {
  const chain = await gpu.scheduler.record(Array.from({ length: CHAIN }, () => steps).flat(), 'timed');
  await gpu.idle();
  const start = performance.now();
  chain.submit();
  await gpu.idle();
  const elapsed = performance.now() - start;
  chain.release();
  return elapsed / 1000 / CHAIN;
}

/** Quantizing against the device's copy bandwidth, and the compressed matrix-vector product against the dense one. */
export const claim: Claim = {
  name: 'kernel speed',
  async measure(gpu) {
    const buffers: GPUBuffer[] = [];
    const room = (bytes: number): BufferView => {
      const buffer = gpu.memory.allocate(bytes);
      buffers.push(buffer);
      return { buffer, size: bytes };
    };
    const dense = allocateWeight(gpu, formatByName('f32'), N, N, 'dense');
    const row = new Float32Array(N);
    for (let r = 0; r < N; r++) {
      for (let i = 0; i < N; i++) row[i] = Math.sin(r * 3.7 + i * 1.3);
      gpu.upload(dense.parts[0]!.arrays[0]!.buffer, new Uint8Array(row.buffer), r * N * 4);
    }
    const bad = room(4);
    const quantize = (name: string): { weight: Weight; step: Step } => {
      const format = formatByName(name);
      const weight = allocateWeight(gpu, format, N, N, name);
      const step = quantizeStep({
        source: dense.format,
        from: dense.parts[0]!.arrays[0]!,
        format,
        to: weight.parts[0]!.arrays,
        rows: N,
        k: N,
        bad,
      });
      return { weight, step };
    };
    const q8 = quantize('q8_0');
    const q4 = quantize('q4_0');
    await gpu.scheduler.run([q4.step, q8.step]);
    // Nothing is allocated or freed in between: the host is busy for a while with memory that goes.
    const from = dense.parts[0]!.arrays[0]!.buffer;
    const copy = copyStep(from, room(from.size).buffer, from.size);
    const bandwidths: number[] = [];
    for (let i = 0; i < PAIRS; i++) {
      const copied = copy.bytes! / (await seconds(gpu, [copy]));
      bandwidths.push(q8.step.bytes! / (await seconds(gpu, [q8.step])) / copied);
    }
    const x = room(N * 4);
    const y = room(N * 4);
    gpu.upload(x.buffer, new Uint8Array(row.buffer));
    const product = (weight: Weight, variant: string) => linearSteps({ x, weight, y, tokens: 1, variant });
    const variants = linearVariantsFor(gpu, { rows: N, k: N, tokens: 1 })
      .map(({ name }) => name)
      .filter((name) => !name.startsWith('tile'));
    const best = async (weight: Weight): Promise<string> => {
      const times = variants.map((): number[] => []);
      // The first round warms up; the variants take turns, so that a busy moment hits all of them.
      for (let round = 0; round <= ROUNDS; round++) {
        for (const [i, variant] of variants.entries()) {
          const time = await seconds(gpu, product(weight, variant));
          if (round > 0) times[i]!.push(time);
        }
      }
      const medians = times.map(median);
      return variants[medians.indexOf(Math.min(...medians))]!;
    };
    const [variantDense, variantQ4] = [await best(dense), await best(q4.weight)];
    const ratios: number[] = [];
    for (let i = 0; i < PAIRS; i++)
      ratios.push(
        (await seconds(gpu, product(dense, variantDense))) / (await seconds(gpu, product(q4.weight, variantQ4))),
      );
    for (const weight of [dense, q8.weight, q4.weight]) weight.release();
    for (const buffer of buffers) gpu.memory.release(buffer);
    const show = (values: number[]) =>
      `${median(values).toFixed(2)} (95%: ${bootstrapInterval(values)
        .map((v) => v.toFixed(2))
        .join(' to ')})`;
    return [
      {
        claim: `q8_0 quantization, ${N}x${N}, of copy bandwidth`,
        threshold: 'at least 0.4',
        measured: show(bandwidths),
        pass: bootstrapInterval(bandwidths)[0] >= 0.4,
      },
      {
        claim: `q4_0 matrix-vector ${N}x${N} over f32 (${variantQ4}, ${variantDense})`,
        threshold: 'at least 1.2x',
        measured: show(ratios),
        pass: bootstrapInterval(ratios)[0] >= 1.2,
      },
    ];
  },
};
