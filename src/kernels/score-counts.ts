import scoreCounts from '../../shaders/prune/score_counts.wgsl';
import scoreCountsAny from '../../shaders/prune/score_counts_any.wgsl';
import { ArgumentError } from '../errors.ts';
import { formatBytes } from '../formats/layout.ts';
import { type BufferView, packParams, type Step } from '../gpu/kernel.ts';
import { each } from './each.ts';
import { writes } from './exact.ts';
import { checkKeys, type Keys, keyBindings, keyKernel } from './keys.ts';

/**
 * Of each row of a matrix the sum of what its weights are ranked by, |w| or |w| · factor of the column, and how many of them are above `threshold`.
 * @param args `sums` f32 [rows], `counts` u32 [rows]
 * @throws ArgumentError
 */
export function scoreCountsStep(
  args: Keys & { readonly threshold: number; readonly sums: BufferView; readonly counts: BufferView },
): Step {
  const { source, rows, k, threshold, sums, counts } = args;
  const label = 'score counts';
  checkKeys(label, args);
  if (!(threshold >= 0)) throw new ArgumentError(`${label}: the threshold is ${threshold}; give a number from 0.`);
  // Scores are compared as integers, as they are when masks are chosen.
  const [bits] = new Uint32Array(Float32Array.of(threshold).buffer);
  return {
    label,
    ...each(rows, keyKernel(args, scoreCounts, scoreCountsAny)),
    ...keyBindings(label, args, [writes(label, 'sums', sums, rows), writes(label, 'counts', counts, rows)]),
    params: packParams(rows, k, bits!),
    bytes: formatBytes(source, rows, k) + 8 * rows,
  };
}
