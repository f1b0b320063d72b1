import source from '../../shaders/calibrate/column_statistics.wgsl';
import { type BufferView, packParams, type Step } from '../gpu/kernel.ts';
import { each } from './each.ts';
import { checkSizes, reads, writes } from './exact.ts';

/**
 * Adds to f32 [4, width]: the sums of |x| and of x² over the tokens, times `factor`, then the larger of the largest |x|, then the sum of x as those, column by column.
 * @throws ArgumentError for sizes and buffers that do not fit
 */
export function columnStatisticsStep(args: {
  /** f32 [tokens, width] */
  readonly x: BufferView;
  readonly statistics: BufferView;
  readonly tokens: number;
  readonly width: number;
  readonly factor: number;
}): Step {
  const { x, statistics, tokens, width, factor } = args;
  const label = 'column statistics';
  checkSizes(label, { tokens, width });
  return {
    label,
    ...each(width, { source }),
    bindings: [reads(label, 'x', x, tokens * width), writes(label, 'statistics', statistics, 4 * width)],
    params: packParams(tokens, width, { f32: factor }),
    bytes: 4 * (tokens + 8) * width,
    operations: 5 * tokens * width,
  };
}
