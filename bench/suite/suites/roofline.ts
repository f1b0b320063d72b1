import type { Gpu } from '../../../src/gpu/gpu.ts';
import { grid1d, read, readWrite, type Step } from '../../../src/gpu/kernel.ts';
import {
  ARITHMETIC_BYTES,
  type Arithmetic,
  arithmeticStep,
  copyBytes,
  copyStep,
  hasArithmetic,
} from '../../../src/verify/roofline-steps.ts';
import { withBuffers } from '../buffers.ts';
import { timedChain } from '../chain.ts';
import type { Contestant } from '../contestant.ts';
import triadSource from '../kernels/triad.wgsl';
import { freshOutput, recorded } from '../recorded.ts';
import type { Bench } from '../results-schema.ts';
import type { Case, OpenCase, Roofline, Suite } from '../suite.ts';

const WIDTH = 256;
const PER_THREAD = 8;
/** Three arrays of this many bytes: with the copy's, beyond any cache. */
const TRIAD_BYTES = 128 * 2 ** 20;

function triadStep(a: GPUBuffer, b: GPUBuffer, c: GPUBuffer, bytes: number): Step {
  return {
    label: 'triad',
    kernel: { source: triadSource, constants: { WIDTH, PER_THREAD } },
    bindings: [
      read({ buffer: b, size: bytes }),
      read({ buffer: c, size: bytes }),
      readWrite({ buffer: a, size: bytes }),
    ],
    grid: grid1d(Math.ceil(bytes / 16 / WIDTH / PER_THREAD)),
    bytes: 3 * bytes,
  };
}

/** Bytes of each array of a memory case. */
const bytesOf = (name: 'copy' | 'triad', gpu: Gpu): number =>
  name === 'copy' ? copyBytes(gpu) : Math.min(TRIAD_BYTES, copyBytes(gpu, 3));

/** Values whose sums are exact, so that the check is as well. */
const small = (count: number, from: number): Float32Array<ArrayBuffer> =>
  Float32Array.from({ length: count }, (_, i) => ((i * 7 + from) % 1021) / 4);

const CHECKED = 2 ** 16;

/** A step of the device's own, as often as makes a run long; `products`: how many of the case's a step is. */
async function chained(
  gpu: Gpu,
  step: Step,
  products: number,
  check?: () => Promise<Float32Array>,
): Promise<Pick<OpenCase, 'work' | 'contestants'>> {
  const { count } = await timedChain(gpu, step);
  const contestant: Contestant = {
    name: 'the device',
    note: `${count} dispatches in one submit, until the device has finished`,
    prepare: () =>
      recorded(gpu, [Array<Step>(count).fill(step)], { ...(check && { check }), release: () => undefined }),
  };
  return { work: { kind: 'own', count: count * products }, contestants: [contestant] };
}

/** Copies and triads of memory: the yardstick of what reads much and computes little. */
function memoryCase(name: 'copy' | 'triad', gpu: Gpu): Case {
  const bytes = bytesOf(name, gpu);
  return {
    suite: 'roofline',
    name,
    dimensions: { megabytes: bytes / 2 ** 20 },
    bytes: (name === 'copy' ? 2 : 3) * bytes,
    open: () =>
      withBuffers(gpu, async (buffers) => {
        const [a, b] = [buffers.room(bytes, 'roofline').buffer, buffers.room(bytes, 'roofline').buffer];
        const c = name === 'triad' ? buffers.room(bytes, 'roofline').buffer : undefined;
        const checked = Math.min(CHECKED, bytes / 4);
        const [x, y] = [small(checked, 0), small(checked, 5)];
        gpu.upload(b, new Uint8Array(x.buffer));
        if (c) gpu.upload(c, new Uint8Array(y.buffer));
        const step = c ? triadStep(a, b, c, bytes) : copyStep(b, a, bytes);
        const check = () => freshOutput(gpu, [step], a, checked);
        return {
          ...(await chained(gpu, step, 1, check)),
          reference: {
            error: (output) => Math.max(...output.map((value, i) => Math.abs(value - (c ? x[i]! + 3 * y[i]! : x[i]!)))),
            tolerance: 0,
          },
          release: () => buffers.release(),
        };
      }),
  };
}

/** Turns of the chain of operations in the case's product: on a CPU they take a tenth of a second. */
const TURNS = 64;
/** A dispatch this long hides how it starts and ends. */
const DISPATCH_SECONDS = 0.001;
const MOST_TURNS = 4096;

/** Arithmetic in registers: the yardstick of what computes much and reads little. */
function arithmeticCase(kind: Arithmetic, gpu: Gpu): Case {
  return {
    suite: 'roofline',
    name: kind,
    dimensions: { type: kind },
    // How many operations the step has does not depend on its buffers.
    operations: (ARITHMETIC_BYTES.results / 16) * TURNS * 256,
    arithmetic: kind,
    open: () =>
      withBuffers(gpu, async (buffers) => {
        const operands = buffers.room(ARITHMETIC_BYTES.operands, 'roofline');
        const results = buffers.room(ARITHMETIC_BYTES.results, 'roofline');
        const stepOf = (turns: number) => arithmeticStep(gpu, kind, { operands, results }, turns);
        const { seconds } = await timedChain(gpu, stepOf(TURNS));
        const longer = 2 ** Math.max(0, Math.ceil(Math.log2(DISPATCH_SECONDS / seconds)));
        const products = Math.min(MOST_TURNS / TURNS, longer);
        return { ...(await chained(gpu, stepOf(products * TURNS), products)), release: () => buffers.release() };
      }),
  };
}

/** What the device does per second at best: everything else is also shown as a fraction of it. */
export const rooflineSuite: Suite = {
  name: 'roofline',
  title: 'Memory and arithmetic',
  cases: ({ gpu }) => [
    memoryCase('copy', gpu),
    memoryCase('triad', gpu),
    ...(['f32', 'f16', 'i8'] as const)
      .filter((kind) => hasArithmetic(gpu, kind))
      .map((kind) => arithmeticCase(kind, gpu)),
  ],
};

/** Whether there is no roofline without a case. */
export const isNeeded = ({ suite, name }: Case): boolean => suite === 'roofline' && (name === 'copy' || name === 'f32');

/** The rates among results of this suite; undefined where memory or f32 is missing. */
export function rooflineOf(cases: Bench['cases']): Roofline | undefined {
  const of = (name: string) => cases.find((one) => one.suite === 'roofline' && one.name === name)?.contestants[0];
  const memory = ['copy', 'triad'].flatMap((name) => of(name)?.gigabytesPerSecond ?? []);
  const rate = (name: string) => {
    const found = of(name)?.gigaOperationsPerSecond;
    return found == null ? null : 1e9 * found;
  };
  const f32 = rate('f32');
  if (memory.length === 0 || f32 === null) return undefined;
  return {
    bytesPerSecond: 1e9 * Math.max(...memory),
    operationsPerSecond: { f32, f16: rate('f16'), i8: rate('i8') },
  };
}
