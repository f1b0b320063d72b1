import {
  allocateWeight,
  type BufferView,
  bootstrapInterval,
  type Format,
  formatByName,
  type Gpu,
  median,
  quantizeStep,
  type Step,
} from 'compressa';
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
 * Quantizing a matrix against ggml's own quantizer in two threads, in pairs that take turns, so that a busy moment hits both: from bf16, as
 * models come, which ggml widens first in the same threads, and from f32, where neither has to. What the ratio is worth depends on the
 * device: a software one has the same two cores, a GPU is another machine. Beside the ratios stands how fast a kernel is that does nothing
 * but read the weights.
 */
export const claim: Claim = {
  name: 'quantizer speed',
  async measure(gpu, takes) {
    const ggml = openGgml();
    if (typeof ggml === 'string') {
      return [{ claim: 'speed over ggml’s', threshold: 'ggml to compare with', measured: ggml, pass: false }];
    }
    const next = random(5);
    // Exact in bf16, so that both sources are the same weights.
    const bits = Uint32Array.from(
      new Uint32Array(Float32Array.from({ length: N * N }, () => 0.02 * gaussian(next)).buffer),
      (word) => word & 0xffff0000,
    );
    const weights = new Float32Array(bits.buffer);
    const bf16 = Uint16Array.from(bits, (word) => word >>> 16);
    const widened = new Float32Array(N * N);
    const results: Measurement[] = [];
    for (const [name, bytes] of [
      ['bf16', new Uint8Array(bf16.buffer)],
      ['f32', new Uint8Array(weights.buffer)],
    ] as const) {
      const source = formatByName(name);
      const dense = allocateWeight(gpu, source, N, N, name);
      const from = dense.parts[0]!.arrays[0]!;
      gpu.upload(from.buffer, bytes, from.offset);
      const reading = await readingRate(gpu, from);
      for (const { type, least, goal, runs } of FORMATS.filter((format) => takes(format.type))) {
        const blocks = new Uint8Array(N * ggml.rowBytes(type, N));
        const theirs = async () => {
          if (name === 'bf16') await ggml.widenInTwoThreads(bf16, widened);
          await ggml.quantizeInTwoThreads(type, weights, N, N, blocks);
        };
        const { ratios, rates } = await inPairs(gpu, source, from, formatByName(type), runs, theirs);
        const [low, high] = bootstrapInterval(ratios).map((v) => v.toFixed(2));
        results.push({
          claim: `${type} from ${name}: ${N}x${N} over ggml in two threads`,
          threshold: `at least ${least}x${goal > least ? `; goal ${goal}x` : ''}`,
          measured: `${median(ratios).toFixed(2)}x (95%: ${low} to ${high}), ${median(rates).toFixed(3)} Gweights/s, of ${reading.toFixed(3)} that are only read`,
          pass: median(ratios) >= least,
        });
      }
      dense.release();
    }
    return results;
  },
};

/** Our time and theirs in turns: how much faster we were in each pair, and our Gweights/s. */
async function inPairs(
  gpu: Gpu,
  source: Format,
  from: BufferView,
  format: Format,
  runs: number,
  theirs: () => Promise<void>,
): Promise<{ ratios: number[]; rates: number[] }> {
  const weight = allocateWeight(gpu, format, N, N, format.name);
  const bad = { buffer: gpu.memory.allocate(4), size: 4 };
  const step = quantizeStep({ source, from, format, to: weight.parts[0]!.arrays, rows: N, k: N, bad });
  const chain = await gpu.scheduler.record(
    Array.from({ length: runs }, () => step),
    format.name,
  );
  const ratios: number[] = [];
  const rates: number[] = [];
  // The first pair warms up.
  for (let pair = 0; pair <= PAIRS; pair++) {
    const ours = await secondsOn(gpu, chain);
    const start = performance.now();
    for (let i = 0; i < runs; i++) await theirs();
    const their = (performance.now() - start) / 1000;
    if (pair === 0) continue;
    ratios.push(their / ours);
    rates.push((runs * N * N) / ours / 1e9);
  }
  chain.release();
  weight.release();
  gpu.memory.release(bad.buffer);
  return { ratios, rates };
}

/** Each thread reads 64 weights, as the quantizers do, and writes one word. */
const READING = `@group(0) @binding(0) var<storage, read> words: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> result: array<u32>;
override LOADS: u32;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) thread: vec3<u32>) {
  var all = vec4<u32>(0u);
  for (var i = 0u; i < LOADS; i++) { all = max(all, words[thread.x * LOADS + i]); }
  result[thread.x] = max(max(all.x, all.y), max(all.z, all.w));
}`;

/** Gweights/s of a kernel that only reads them. */
async function readingRate(gpu: Gpu, from: BufferView): Promise<number> {
  const threads = (N * N) / 64;
  const result = gpu.memory.allocate(threads * 4);
  const bytes = from.size!;
  const step: Step = {
    label: 'reading',
    kernel: { source: { name: 'reading', code: READING, includes: [] }, constants: { LOADS: bytes / threads / 16 } },
    bindings: [
      { ...from, access: 'read' },
      { buffer: result, access: 'read-write' },
    ],
    grid: [threads / 64, 1, 1],
  };
  const chain = await gpu.scheduler.record(
    Array.from({ length: 8 }, () => step),
    'reading',
  );
  const seconds: number[] = [];
  for (let run = 0; run <= PAIRS; run++) seconds.push(await secondsOn(gpu, chain));
  chain.release();
  gpu.memory.release(result);
  return (8 * N * N) / median(seconds.slice(1)) / 1e9;
}
