import f16Source from '../../shaders/verify/arithmetic_f16.wgsl';
import f32Source from '../../shaders/verify/arithmetic_f32.wgsl';
import i8Source from '../../shaders/verify/arithmetic_i8.wgsl';
import copySource from '../../shaders/verify/copy.wgsl';
import { ArgumentError } from '../errors.ts';
import type { Gpu } from '../gpu/gpu.ts';
import { type BufferView, grid1d, read, readWrite, type ShaderFeature, type Step } from '../gpu/kernel.ts';
import type { ShaderSource } from '../gpu/shader-source.ts';
import { reads, writes } from '../kernels/exact.ts';

/** Larger than any cache; a device that binds less at once, or a budget that allows less, copies as much as it can. */
const COPY_BYTES = 256 * 1024 * 1024;
const COPY_WIDTH = 256;
const COPY_PER_THREAD = 8;
/** 131,072 threads fill the largest GPUs; with this many turns, a software one needs about a second. */
const WORKGROUPS = 2048;
const WIDTH = 64;
const TURNS = 64;
/** Of one turn of a thread, as the shaders count them. */
const OPERATIONS_PER_TURN = 256;

/** Multiplier and addend: every chain tends to 1, far from overflow and denormals. */
const FLOATS = new Uint8Array(new Float32Array([0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]).buffer);
const BYTES = new Uint8Array(
  new Uint32Array([0x7f80ff01, 0x01020304, 0x55aa3311, 0xfedc7a98, 0x81020304, 0x11, 0xff00ff, 0x7e7e7e7e]).buffer,
);

/** What arithmetic is done in. */
export type Arithmetic = 'f32' | 'f16' | 'i8';

const ARITHMETIC: Readonly<
  Record<Arithmetic, { source: ShaderSource; operands: Uint8Array; features: readonly ShaderFeature[] }>
> = {
  f32: { source: f32Source, operands: FLOATS, features: [] },
  f16: { source: f16Source, operands: FLOATS, features: ['f16'] },
  i8: { source: i8Source, operands: BYTES, features: [] },
};

/** Of the memory that is left: buffers are rounded up by an eighth at most, and results and read-backs need some, too. */
const SHARE = 3 / 4;

/** Bytes of each of the buffers of one large copy, or of more that stream alike, on this device: a multiple of 16. */
export function copyBytes({ limits, memory }: Pick<Gpu, 'limits' | 'memory'>, buffers = 2): number {
  const affordable = Math.floor((SHARE * (memory.budget - memory.bytesInUse)) / buffers);
  const most = Math.min(COPY_BYTES, limits.maxStorageBufferBindingSize, limits.maxBufferSize, affordable);
  return Math.max(16, most & ~15);
}

/**
 * Copies `bytes`, a multiple of 16, from the start of one buffer to that of another; its traffic is twice that.
 * @throws ArgumentError for another number of bytes, and buffers that are smaller
 */
export function copyStep(source: GPUBuffer, target: GPUBuffer, bytes: number): Step {
  const label = 'copy';
  if (!Number.isInteger(bytes) || bytes < 16 || bytes % 16 !== 0)
    throw new ArgumentError(`${label}: ${bytes} bytes; give a multiple of 16.`);
  return {
    label,
    kernel: { source: copySource, constants: { WIDTH: COPY_WIDTH, PER_THREAD: COPY_PER_THREAD } },
    bindings: [
      reads(label, 'source', { buffer: source }, bytes / 4),
      writes(label, 'target', { buffer: target }, bytes / 4),
    ],
    grid: grid1d(Math.ceil(bytes / 16 / COPY_WIDTH / COPY_PER_THREAD)),
    bytes: 2 * bytes,
  };
}

/** Whether the device can: f16 needs a feature, and not every driver multiplies packed int8. */
export const hasArithmetic = (gpu: Gpu, kind: Arithmetic): boolean =>
  kind === 'f16' ? gpu.features.has('shader-f16') : kind === 'f32' || gpu.selfTest?.multipliesPacked !== false;

/** Bytes of the buffers that `arithmeticStep` takes: operands, results. */
export const ARITHMETIC_BYTES = { operands: FLOATS.byteLength, results: WORKGROUPS * WIDTH * 16 } as const;

/** Nothing but multiplications and additions in one type: operands are written here. `turns` makes it longer or shorter. */
export function arithmeticStep(
  gpu: Gpu,
  kind: Arithmetic,
  buffers: { readonly operands: BufferView; readonly results: BufferView },
  turns = TURNS,
): Step {
  const { source, operands, features } = ARITHMETIC[kind];
  gpu.upload(buffers.operands.buffer, operands);
  return {
    label: source.name,
    kernel: { source, features, constants: { WIDTH, TURNS: turns } },
    bindings: [
      read({ ...buffers.operands, size: operands.byteLength }),
      readWrite({ ...buffers.results, size: ARITHMETIC_BYTES.results }),
    ],
    grid: grid1d(WORKGROUPS),
    operations: WORKGROUPS * WIDTH * turns * OPERATIONS_PER_TURN,
  };
}
