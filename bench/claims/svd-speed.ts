import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import {
  type BufferView,
  type GemmVariant,
  type Gpu,
  gemmScratch,
  gemmSteps,
  median,
  Profile,
  type Step,
  type Weight,
  wrapDense,
} from 'compressa';
import { randomizedSvd } from 'compressa/low-rank';
import type { Claim, Measurement } from '../claim.ts';
import { onnxWeight } from '../onnx-weights.ts';
import { openOnnxRuntime } from '../peers/onnx-runtime.ts';
import { makeInput } from '../products.ts';
import { gaussian, random } from '../random.ts';

const SIZE = 2048;
const RANK = 64;
/** Of the sketch: the rank, and ten more, in fours. */
const COLUMNS = 76;
/** Reported. */
const LARGE = { size: 4096, rank: 128, columns: 140 } as const;
const ROUNDS = 5;
/** How much of the time of its products, and of its own, the whole and its small problems may take. */
const MOST = 2;
const MOST_SMALL = 0.5;
const VARIANTS: readonly GemmVariant[] = ['tile', 'broadcast'];

/** A randomized SVD beside the matrix products that it is made of, at the rate that the faster of our kernels has for their shapes in the same run; ONNX Runtime's product and numpy's SVD beside it. */
export const claim: Claim = {
  name: 'svd speed',
  async measure(gpu) {
    const buffers: GPUBuffer[] = [];
    const room = (floats: number): BufferView => {
      const buffer = gpu.memory.allocate(4 * floats);
      buffers.push(buffer);
      return { buffer, size: 4 * floats };
    };
    const next = random(3);
    const values = Float32Array.from({ length: SIZE * SIZE }, () => gaussian(next));
    const a = room(SIZE * SIZE);
    gpu.upload(a.buffer, new Uint8Array(values.buffer));
    const matrix = wrapDense(a.buffer, SIZE, SIZE);
    const products = await rates(gpu, a, room);
    const { whole, profile } = await timed(gpu, matrix, RANK);
    const isLarge = ({ operations }: { readonly operations: number }) => operations >= SIZE * SIZE * COLUMNS;
    const operations = profile.times.filter(isLarge).reduce((sum, step) => sum + step.operations, 0);
    const ideal = operations / products.rate / 1e6;
    const all = profile.times.reduce((sum, step) => sum + step.milliseconds, 0);
    const small = profile.times.filter((step) => !isLarge(step) && !step.kernel.startsWith('gaussian'));
    const share = small.reduce((sum, step) => sum + step.milliseconds, 0) / all;
    const ort = await onnxRate(gpu, matrix);
    const results: Measurement[] = [
      {
        claim: `rank ${RANK} of ${SIZE} x ${SIZE}, q = 2`,
        threshold: `at most ${MOST}x the time of its products at our rate`,
        measured: `${(whole / ideal).toFixed(2)}x: ${whole.toFixed(1)} ms beside ${ideal.toFixed(1)} ms at ${products.rate.toFixed(1)} Gop/s (${products.variant}; ${ort}); numpy: ${await numpyTime(SIZE, COLUMNS)}`,
        pass: whole <= MOST * ideal,
      },
      {
        claim: 'QR factorizations and the SVD of the small problem',
        threshold: `below ${100 * MOST_SMALL}% of the time of all steps`,
        measured: `${(100 * share).toFixed(1)}% of ${all.toFixed(1)} ms`,
        pass: share < MOST_SMALL,
      },
    ];
    for (const buffer of buffers) gpu.memory.release(buffer);
    results.push(await large(gpu));
    return results;
  },
};

/** The median time of a decomposition in milliseconds, and the steps of another. */
async function timed(gpu: Gpu, matrix: Weight, rank: number): Promise<{ whole: number; profile: Profile }> {
  const decompose = async (profile?: Profile) => {
    const found = await randomizedSvd(gpu, matrix, { rank, ...(profile && { profile }) });
    found.release();
  };
  await decompose();
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round++) times.push(await milliseconds(() => decompose()));
  const profile = new Profile(gpu);
  await decompose(profile);
  return { whole: median(times), profile };
}

/** A larger matrix, with the share of each kind of step. */
async function large(gpu: Gpu): Promise<Measurement> {
  const { size, rank, columns } = LARGE;
  const next = random(4);
  const values = Float32Array.from({ length: size * size }, () => gaussian(next));
  const buffer = gpu.memory.allocate(values.byteLength);
  gpu.upload(buffer, new Uint8Array(values.buffer));
  const { whole, profile } = await timed(gpu, wrapDense(buffer, size, size), rank);
  gpu.memory.release(buffer);
  const shares = new Map<string, number>();
  const all = profile.times.reduce((sum, step) => sum + step.milliseconds, 0);
  for (const { label, milliseconds } of profile.times) {
    const kind = label.split(':')[0]!;
    shares.set(kind, (shares.get(kind) ?? 0) + milliseconds / all);
  }
  const text = [...shares].sort(([, a], [, b]) => b - a).map(([kind, share]) => `${kind} ${(100 * share).toFixed(1)}%`);
  return {
    claim: `rank ${rank} of ${size} x ${size}, q = 2`,
    threshold: 'reported',
    measured: `${whole.toFixed(1)} ms (${text.join(', ')}); numpy: ${await numpyTime(size, columns)}`,
    pass: true,
  };
}

async function milliseconds(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

/** Of A and of its transpose by COLUMNS columns, in turns, by the faster kernel. */
async function rates(gpu: Gpu, a: BufferView, room: (floats: number) => BufferView) {
  const [x, y] = [room(SIZE * COLUMNS), room(SIZE * COLUMNS)];
  gpu.upload(x.buffer, new Uint8Array(makeInput(SIZE * COLUMNS).buffer));
  const scratch = room(Math.max(1, gemmScratch(SIZE, COLUMNS, SIZE) / 4));
  const steps = (variant: GemmVariant): Step[] =>
    [false, true].flatMap((transposed) =>
      gemmSteps({
        ...{ a: { ...a, width: SIZE, transposed }, b: { ...x, width: COLUMNS }, c: { ...y, width: COLUMNS } },
        ...{ rows: SIZE, columns: COLUMNS, inner: SIZE, scratch, variant },
      }),
    );
  let best = { rate: 0, variant: VARIANTS[0]! };
  for (const variant of VARIANTS) {
    if (variant === 'broadcast' && gpu.subgroupLanes < 8) continue;
    const recording = await gpu.scheduler.record(steps(variant), variant);
    const run = () =>
      milliseconds(async () => {
        recording.submit();
        await gpu.idle();
      });
    await run();
    const times: number[] = [];
    for (let round = 0; round < ROUNDS; round++) times.push(await run());
    recording.release();
    const rate = (2 * 2 * SIZE * SIZE * COLUMNS) / median(times) / 1e6;
    if (rate > best.rate) best = { rate, variant };
  }
  return best;
}

/** What ONNX Runtime's WebGPU provider takes for the same product. */
async function onnxRate(gpu: Gpu, matrix: Parameters<typeof onnxWeight>[1]): Promise<string> {
  const ort = openOnnxRuntime();
  if (typeof ort === 'string') return `ONNX Runtime is not there`;
  const weight = await onnxWeight(gpu, matrix);
  const chain = await ort.open([weight], { tokens: COLUMNS, size: SIZE, accuracy: 0 }, makeInput(COLUMNS * SIZE));
  await chain.run();
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round++) times.push(await milliseconds(() => chain.run()));
  await chain.release();
  return `ONNX Runtime ${ort.version}: ${((2 * SIZE * SIZE * COLUMNS) / median(times) / 1e6).toFixed(1)} Gop/s`;
}

/** numpy's time for the same decomposition by the same method, or what is missing. */
async function numpyTime(size: number, columns: number): Promise<string> {
  const program = `
import time, numpy as np
r = np.random.default_rng(0)
a = r.standard_normal((${size}, ${size}), dtype="f4")
def svd():
    y = a @ r.standard_normal((${size}, ${columns}), dtype="f4")
    for _ in range(2):
        q, _ = np.linalg.qr(y)
        z, _ = np.linalg.qr(a.T @ q)
        y = a @ z
    q, _ = np.linalg.qr(y)
    return np.linalg.svd(q.T @ a, full_matrices=False)
svd()
times = []
for _ in range(${ROUNDS}):
    start = time.perf_counter()
    svd()
    times.append(time.perf_counter() - start)
print(1000 * sorted(times)[${ROUNDS} // 2])`;
  try {
    const { stdout } = await promisify(execFile)('python3', ['-c', program]);
    return `${Number(stdout).toFixed(1)} ms`;
  } catch {
    return 'not installed';
  }
}
