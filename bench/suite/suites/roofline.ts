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
import { Buffers } from '../buffers.ts';
import type { Contestant, Work } from '../contestant.ts';
import triadSource from '../kernels/triad.wgsl';
import { readFloats, recorded } from '../recorded.ts';
import type { Bench } from '../results-schema.ts';
import type { Case, OpenCase, Roofline, Suite } from '../suite.ts';

const WIDTH = 256;
const PER_THREAD = 8;
/** Three arrays of this many bytes: with the copy's, beyond any cache. */
const TRIAD_BYTES = 128 * 2 ** 20;

const OWN: Work = { kind: 'own', count: 1 };

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

const triadBytes = (gpu: Gpu): number => Math.min(TRIAD_BYTES, copyBytes(gpu));

const contestant = (make: () => ReturnType<Contestant['prepare']>): Contestant => ({
  name: 'ours',
  note: 'one dispatch and its submit',
  prepare: make,
});

/** Values whose sums are exact, so that the check is as well. */
const small = (count: number, from: number): Float32Array<ArrayBuffer> =>
  Float32Array.from({ length: count }, (_, i) => ((i * 7 + from) % 1021) / 4);

const CHECKED = 2 ** 16;

/** Copies and triads of memory: the yardstick of what reads much and computes little. */
function memoryCase(name: 'copy' | 'triad', gpu: Gpu): Case {
  const bytes = name === 'copy' ? copyBytes(gpu) : triadBytes(gpu);
  return {
    suite: 'roofline',
    name,
    dimensions: { megabytes: bytes / 2 ** 20 },
    bytes: (name === 'copy' ? 2 : 3) * bytes,
    async open() {
      const buffers = new Buffers(gpu);
      const [a, b] = [buffers.room(bytes, 'roofline').buffer, buffers.room(bytes, 'roofline').buffer];
      const c = name === 'triad' ? buffers.room(bytes, 'roofline').buffer : undefined;
      const [x, y] = [small(CHECKED, 0), small(CHECKED, 5)];
      gpu.upload(b, new Uint8Array(x.buffer));
      if (c) gpu.upload(c, new Uint8Array(y.buffer));
      const step = c ? triadStep(a, b, c, bytes) : copyStep(b, a, bytes);
      return {
        work: OWN,
        contestants: [
          contestant(() =>
            recorded(gpu, [[step]], {
              check: async () => {
                await gpu.scheduler.run([step]);
                return readFloats(gpu, a, CHECKED);
              },
              release: () => undefined,
            }),
          ),
        ],
        reference: {
          error: (output) => Math.max(...output.map((value, i) => Math.abs(value - (c ? x[i]! + 3 * y[i]! : x[i]!)))),
          tolerance: 0,
        },
        release: () => buffers.release(),
      } satisfies OpenCase;
    },
  };
}

/** Arithmetic in registers: the yardstick of what computes much and reads little. */
function arithmeticCase(kind: Arithmetic, gpu: Gpu): Case {
  // How many operations the step has does not depend on its buffers.
  const turns = 64;
  return {
    suite: 'roofline',
    name: kind,
    dimensions: { type: kind },
    operations: (ARITHMETIC_BYTES.results / 16) * turns * 256,
    arithmetic: kind,
    async open() {
      const buffers = new Buffers(gpu);
      const operands = buffers.room(ARITHMETIC_BYTES.operands, 'roofline');
      const results = buffers.room(ARITHMETIC_BYTES.results, 'roofline');
      const step = arithmeticStep(gpu, kind, { operands, results }, turns);
      return {
        work: OWN,
        contestants: [contestant(() => recorded(gpu, [[step]], { release: () => undefined }))],
        release: () => buffers.release(),
      };
    },
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
