import { formatByName } from '../../formats/registry.ts';
import type { Gpu } from '../../gpu/gpu.ts';
import { Scratch } from '../../gpu/scratch.ts';
import { applyMaskStep } from '../../kernels/apply-mask.ts';
import { maskWords } from '../../kernels/mask-pattern.ts';
import { type DenseRows, matrixError } from '../methods/matrix-error.ts';
import { copyView, type PrunedRows, type PruneInputs, type PruneRowsOptions } from './prune-rows.ts';

/**
 * Finite rows of which all weights stay, or none does: what their share of a few blocks comes to.
 * @throws OutOfMemoryError, DeviceLostError, CancelledError
 */
export async function alikeRows(
  gpu: Gpu,
  dense: DenseRows,
  stay: boolean,
  { hessian }: Pick<PruneInputs, 'hessian'>,
  { signal, maskTo, originalTo }: Pick<PruneRowsOptions, 'signal' | 'maskTo' | 'originalTo'> = {},
): Promise<PrunedRows> {
  const { view: data, rows, k } = dense;
  const scratch = new Scratch(gpu);
  try {
    const all = await matrixError(gpu, { dense, hessian });
    if (originalTo) copyView(gpu, data, originalTo, 4 * rows * k);
    const bits = new Uint32Array(maskWords(rows, k));
    const words = maskWords(1, k);
    if (stay)
      for (let i = 0; i < rows * k; i++) bits[Math.floor(i / k) * words + ((i % k) >> 5)]! |= 1 << ((i % k) & 31);
    const mask = scratch.upload(bits, 'mask');
    if (maskTo) copyView(gpu, mask, maskTo, 4 * bits.length);
    const apply = applyMaskStep({ format: formatByName('f32'), data, mask, rows, k });
    if (!stay) await gpu.scheduler.run([apply], signal && { signal });
    return { kept: stay ? rows * k : 0, mask: bits, errors: { pruned: stay ? 0 : all, all } };
  } finally {
    scratch.release();
  }
}
