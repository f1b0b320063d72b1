import gather from '../../shaders/blocks/gather.wgsl';
import type { BlockLayout } from '../formats/block-layout.ts';
import { type BufferView, packParams, type Step } from '../gpu/kernel.ts';
import { each } from './each.ts';
import { checkSizes, reads, writes } from './exact.ts';

/** What gathering blocks reads and writes. */
export interface GatherBlocksArguments {
  /** f32 [rows, k] */
  readonly from: BufferView;
  /** u32 [kept]: which blocks, counted row by row of blocks. */
  readonly blocks: BufferView;
  /** f32 [kept, slots] */
  readonly to: BufferView;
  readonly layout: BlockLayout;
  readonly rows: number;
  readonly k: number;
  readonly kept: number;
}

/** Copies the blocks of a dense matrix that are kept; other formats are made of that (`quantizeStep` with slots in place of columns). @throws ArgumentError */
export function gatherBlocksStep({ from, blocks, to, layout, rows, k, kept }: GatherBlocksArguments): Step {
  const label = 'gather blocks';
  const { slots, width, across, block } = layout;
  checkSizes(label, { rows, k });
  checkSizes(label, { kept, slots });
  return {
    label,
    ...each(kept * slots, { source: gather }),
    bindings: [
      reads(label, 'blocks', blocks, kept),
      reads(label, 'from', from, rows * k),
      writes(label, 'to', to, kept * slots),
    ],
    params: packParams(rows, k, kept, slots, block.rows, block.columns, width, across),
    bytes: 8 * kept * slots,
  };
}
