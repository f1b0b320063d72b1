import source from '../../shaders/layers/hadamard.wgsl';
import { ArgumentError } from '../errors.ts';
import { type BufferView, grid1d, packParams, type Step } from '../gpu/kernel.ts';
import { checkSizes, reads, writes } from './exact.ts';

/** Largest block: 16 KiB of workgroup memory, which every device has. */
export const MAX_HADAMARD_BLOCK = 4096;

/** Numbers that a workgroup takes where a block has fewer. */
const TILE = 1024;

/** What a Hadamard transform reads and writes: x and out f32 [count]. */
export interface HadamardArguments {
  readonly x: BufferView;
  /** Not `x`. */
  readonly out: BufferView;
  /** Elements: rows times their width. */
  readonly count: number;
  /** A power of two up to 4096 that divides the width of a row. */
  readonly block: number;
  /** Most threads of a workgroup: a power of two up to 256. Default 256. */
  readonly threads?: number;
}

/** out = H x for each run of `block` numbers: `hadamard` of `src/graph/reference/hadamard.ts`. @throws ArgumentError */
export function hadamardStep({ x, out, count, block, threads = 256 }: HadamardArguments): Step {
  const label = 'hadamard';
  checkSizes(label, { count, block });
  if (!Number.isInteger(Math.log2(block)) || block > MAX_HADAMARD_BLOCK) {
    throw new ArgumentError(
      `${label}: the block is ${block}; it must be a power of two, at most ${MAX_HADAMARD_BLOCK}.`,
    );
  }
  if (count % block !== 0) throw new ArgumentError(`${label}: blocks of ${block} do not divide ${count} elements.`);
  const tile = Math.max(TILE, block);
  return {
    label,
    kernel: { source, constants: { WORKGROUP: threads, TILE: tile } },
    bindings: [reads(label, 'x', x, count), writes(label, 'out', out, count)],
    params: packParams(count, block, { f32: 1 / Math.sqrt(block) }),
    grid: grid1d(Math.ceil(count / tile)),
    bytes: 8 * count,
    operations: count * (Math.log2(block) + 1),
  };
}
