import tile from '../../shaders/algebra/gemm.wgsl';
import tileAny from '../../shaders/algebra/gemm_any.wgsl';
import broadcast from '../../shaders/algebra/gemm_broadcast.wgsl';
import sumParts from '../../shaders/algebra/sum_parts.wgsl';
import { ArgumentError } from '../errors.ts';
import type { Gpu } from '../gpu/gpu.ts';
import { type BufferView, type Kernel, packParams, type Step } from '../gpu/kernel.ts';
import { each } from './each.ts';
import { checkSizes, reads, writes } from './exact.ts';

/** A row-major f32 matrix in a buffer, all of it or some rows and columns. */
export interface MatrixView extends BufferView {
  /** Elements from the start of a row to that of the next. */
  readonly width: number;
  /** Where the first element lies; default 0. */
  readonly start?: number;
}

/** An operand of a product. */
export interface Operand extends MatrixView {
  /** Take the transpose of what is stored. */
  readonly transposed?: boolean;
}

/** How a product is computed: threads that own 8 x 8 elements, or rows on the lanes of a subgroup (of 8 lanes or more) and the other operand broadcast. */
export type GemmVariant = 'tile' | 'broadcast';

/** What a product of matrices reads and writes. */
export interface GemmArguments {
  /** op(A) [rows, inner] */
  readonly a: Operand;
  /** op(B) [inner, columns]; or a seed, of which its elements are normal deviates: they are made where they are needed, and stored nowhere. */
  readonly b: Operand | { readonly seed: number };
  /** C [rows, columns], or where `transposed` its transpose. */
  readonly c: Operand;
  readonly rows: number;
  readonly columns: number;
  readonly inner: number;
  /** Factor on what C holds; default 0: it is replaced. */
  readonly keep?: number;
  /** Factor on the product; default 1. */
  readonly factor?: number;
  /** op(B) is the transpose of op(A): half of C is computed, the rest mirrored. */
  readonly symmetric?: boolean;
  /** f32, `gemmScratch` of the same shape; needed where that is not 0. */
  readonly scratch?: BufferView;
  /** Default `tile`, which every device has: see `usualGemm`. */
  readonly variant?: GemmVariant;
  readonly label?: string;
}

/** Rows and columns of C that a workgroup covers. */
const COVERS = { tile: [64, 64], broadcast: [256, 8] } as const;
/** Where C alone has too few workgroups for a GPU, the inner dimension is cut into parts, of that many elements at least. */
const PART = 256;
const WORKGROUPS = 128;

/** What serves on a device where nothing was timed. */
export const usualGemm = (gpu: Gpu): GemmVariant =>
  gpu.description.software && gpu.subgroupLanes >= 8 ? 'broadcast' : 'tile';

/** Parts into which the inner dimension is cut: of the shape alone, so that sums are the same on every device. */
function partsOf(rows: number, columns: number, inner: number): number {
  const tiles = Math.ceil(rows / 64) * Math.ceil(columns / 64);
  return Math.max(1, Math.min(Math.floor(inner / PART), Math.floor(WORKGROUPS / tiles)));
}

/** Bytes of the room that a product needs besides its matrices. */
export function gemmScratch(rows: number, columns: number, inner: number): number {
  const parts = partsOf(rows, columns, inner);
  return parts === 1 ? 0 : 4 * parts * rows * columns;
}

/**
 * C = keep · C + factor · op(A) op(B), in f32, with each operand and C as it is or transposed. Sums run over 32 elements at a time, then over those;
 * where C is small and the sums are long, these are cut into parts that are added at the end. An element is off by at most
 * (32 + inner / 32 + 4) · 2^-24 · |op(A)| |op(B)|.
 * @returns one step, or two
 * @throws ArgumentError for sizes and buffers that do not fit
 */
export function gemmSteps(args: GemmArguments): Step[] {
  const { a, b, c, rows, columns, inner, keep = 0, factor = 1, symmetric = false, label = 'product' } = args;
  checkSizes(label, { rows, columns });
  const left = operand(label, 'a', a, rows, inner);
  const seed = 'seed' in b ? b.seed : undefined;
  // Every binding needs a buffer.
  const right = 'seed' in b ? left : operand(label, 'b', b, inner, columns);
  const {
    start: bStart = 0,
    width: bWidth,
    transposed: bTransposed = false,
  }: Omit<Operand, 'buffer'> = 'seed' in b ? { width: 0 } : b;
  const [high, wide] = c.transposed ? [columns, rows] : [rows, columns];
  checkSizes(label, { high, width: c.width });
  if (c.width < wide) throw new ArgumentError(`${label}: rows of C have ${c.width} elements, not ${wide}.`);
  const result = writes(label, 'c', c, (c.start ?? 0) + (high - 1) * c.width + wide);
  const toC = c.transposed ? [c.start ?? 0, 1, c.width] : [c.start ?? 0, c.width, 1];
  const parts = partsOf(rows, columns, inner);
  const part = 4 * Math.ceil(inner / parts / 4);
  const whole = left.whole && right.whole;
  const variant = whole ? (args.variant ?? 'tile') : 'tile';
  const [coversRows, coversColumns] = COVERS[variant];
  const size = rows * columns;
  const sources = { tile: whole ? tile : tileAny, broadcast };
  const kernel: Kernel = {
    source: sources[variant],
    constants: {
      A_TRANSPOSED: Number(a.transposed ?? false),
      B_TRANSPOSED: Number(bTransposed),
      RANDOM: Number(seed !== undefined),
    },
    ...(variant === 'broadcast' && { features: ['subgroups'] as const }),
  };
  const target = parts === 1 ? result : writes(label, 'scratch', args.scratch as BufferView, parts * size);
  const [start, row, column] = parts === 1 ? toC : [0, columns, 1];
  const steps: Step[] = [
    {
      label,
      kernel,
      bindings: [left.binding, right.binding, target],
      params: packParams(
        ...[rows, columns, inner, part],
        ...[a.start ?? 0, a.width, bStart, bWidth],
        ...[start!, row!, column!, size],
        { f32: parts === 1 ? keep : 0 },
        { f32: factor },
        Number(symmetric),
        seed ?? 0,
      ),
      grid: [Math.ceil(columns / coversColumns), Math.ceil(rows / coversRows), parts],
      bytes: 4 * (inner * (rows + columns) + parts * size),
      operations: (symmetric ? 1 : 2) * rows * columns * inner,
    },
  ];
  if (parts > 1) {
    steps.push({
      label: `${label}: sum of parts`,
      ...each(size, { source: sumParts }),
      bindings: [reads(label, 'scratch', args.scratch as BufferView, parts * size), result],
      params: packParams(rows, columns, parts, ...toC, { f32: keep }),
      bytes: 4 * (parts + 1) * size,
    });
  }
  return steps;
}

/** A binding that holds what the kernels load, and whether they may load four elements at a time. */
function operand(label: string, name: string, view: Operand, rows: number, columns: number) {
  const { width, start = 0, transposed = false } = view;
  const [high, wide] = transposed ? [columns, rows] : [rows, columns];
  checkSizes(label, { high, width });
  if (!(Number.isInteger(start) && start >= 0)) throw new ArgumentError(`${label}: "${name}" starts at ${start}.`);
  if (width < wide) throw new ArgumentError(`${label}: rows of "${name}" have ${width} elements, not ${wide}.`);
  const last = start + (high - 1) * width;
  const whole = width % 4 === 0 && start % 4 === 0 && (view.offset ?? 0) % 16 === 0;
  return { whole, binding: reads(label, name, view, last + (whole ? 4 * Math.ceil(wide / 4) : wide)) };
}
