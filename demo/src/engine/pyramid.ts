import { packParams, read, readWrite } from '../../../src/gpu/kernel.ts';
import type { BufferView, Step } from '../../../src/index.ts';
import { each } from '../../../src/kernels/each.ts';
import baseSource from '../../shaders/pyramid_base.wgsl';
import levelSource from '../../shaders/pyramid_level.wgsl';

/** A level of detail: cells of `side` x `side` weights. */
export interface Level {
  /** The first of its cells in the buffer. */
  readonly start: number;
  readonly across: number;
  readonly down: number;
  readonly side: number;
}

const CELL_BYTES = 24;

/** Levels from cells of 4 x 4 weights up to one cell in all. */
export function levelsOf(rows: number, k: number): Level[] {
  const levels: Level[] = [];
  let start = 0;
  for (let side = 4; ; side *= 2) {
    const level = { start, side, across: Math.ceil(k / side), down: Math.ceil(rows / side) };
    levels.push(level);
    start += level.across * level.down;
    if (level.across === 1 && level.down === 1) return levels;
  }
}

export const pyramidBytes = (levels: readonly Level[]): number =>
  CELL_BYTES * levels.reduce((sum, { across, down }) => sum + across * down, 0);

/** Steps that make all levels anew: each from the one below it. */
export function pyramidSteps(args: {
  readonly before: BufferView;
  readonly after: BufferView;
  readonly mask: BufferView;
  readonly masked: boolean;
  readonly cells: BufferView;
  readonly levels: readonly Level[];
  readonly rows: number;
  readonly k: number;
}): Step[] {
  const { before, after, mask, masked, cells, levels, rows, k } = args;
  const [base, ...coarser] = levels as [Level, ...Level[]];
  return [
    {
      label: 'pyramid',
      ...each(base.across * base.down, { source: baseSource }),
      bindings: [read(before), read(after), read(mask), readWrite(cells)],
      params: packParams(rows, k, base.across, base.down, Number(masked)),
    },
    ...coarser.map((level, i): Step => {
      const from = levels[i]!;
      return {
        label: `pyramid ${level.side}`,
        ...each(level.across * level.down, { source: levelSource }),
        bindings: [readWrite(cells)],
        params: packParams(
          ...[rows, k, level.across, level.down, from.start, from.across, from.down, level.start, from.side],
        ),
      };
    }),
  ];
}
