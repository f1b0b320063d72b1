import type { ShaderSource } from './shader-source.ts';

/** A range of a buffer. */
export interface BufferView {
  readonly buffer: GPUBuffer;
  /** Bytes from the start, default 0: a multiple of the device's `minStorageBufferOffsetAlignment`, mostly 256. */
  readonly offset?: number;
  /** Bytes; default: the rest of the buffer. */
  readonly size?: number;
}

/** A range of a buffer as a step uses it. */
export interface Binding extends BufferView {
  readonly access: 'read' | 'read-write';
}

/** What the code needs from the device besides WebGPU's core; becomes the prologue's `enable` lines. */
export type ShaderFeature = 'f16' | 'subgroups' | 'subgroup-matrix';

/** A compute pipeline as data: equal data is compiled once. */
export interface Kernel {
  readonly source: ShaderSource;
  /** The format file that a generic kernel stands on: it declares bind group 1. */
  readonly format?: ShaderSource;
  /** Values for the `override`s of both. */
  readonly constants?: Readonly<Record<string, number>>;
  readonly features?: readonly ShaderFeature[];
  readonly entryPoint?: string;
}

/** One dispatch as data. The scheduler, the profiler and the tests all see the same list. */
export interface Step {
  readonly label: string;
  readonly kernel: Kernel;
  /** Bind group 0, in the order of the shader's binding numbers. */
  readonly bindings: readonly Binding[];
  /** Bind group 1: the arrays of a weight's representation. */
  readonly weight?: readonly Binding[];
  /** Contents of the uniform that follows the bindings in group 0. */
  readonly params?: ArrayBuffer;
  /** Workgroups. */
  readonly grid: readonly [number, number, number];
  /** Bytes of storage that it reads and writes, for bandwidth figures. */
  readonly bytes?: number;
  /** Arithmetic operations, a multiply-add counting two. */
  readonly operations?: number;
}

export const read = (view: BufferView): Binding => ({ ...view, access: 'read' });
export const readWrite = (view: BufferView): Binding => ({ ...view, access: 'read-write' });

/** Packs 32-bit scalars for a uniform struct in order: numbers as u32, `{ f32 }` as f32. */
export function packParams(...values: (number | { readonly f32: number })[]): ArrayBuffer {
  const bytes = new ArrayBuffer(Math.ceil(values.length / 4) * 16);
  const view = new DataView(bytes);
  for (const [i, value] of values.entries()) {
    if (typeof value === 'number') view.setUint32(i * 4, value, true);
    else view.setFloat32(i * 4, value.f32, true);
  }
  return bytes;
}

/** WebGPU's limit on workgroups in one dimension. */
export const MAX_GRID = 65535;

/** Spreads `groups` workgroups over x and y; `workgroup_index()` of `common/grid.wgsl` undoes it. */
export function grid1d(groups: number): [number, number, number] {
  if (groups <= MAX_GRID) return [Math.max(groups, 1), 1, 1];
  const x = Math.ceil(Math.sqrt(groups));
  return [x, Math.ceil(groups / x), 1];
}

/** A grid of `across` x `down` workgroups, as many in x as there are; `workgroup_at()` of `common/grid.wgsl` undoes it. */
export const gridOf = (across: number, down: number): [number, number, number] => grid1d(across * down);
