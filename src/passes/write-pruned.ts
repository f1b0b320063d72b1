import { checkCancelled } from '../files/cancel.ts';
import { compressMatrix, inOutputOrder, type MatrixLosses } from './compress-matrix.ts';
import type { PlannedTensor } from './plan.ts';
import type { Threshold } from './pruning/find-mask.ts';
import type { Pruning } from './pruning/pruning.ts';
import { recorded } from './timeline.ts';
import type { Work } from './write-tensors.ts';

/**
 * Prunes, factors and writes the matrices of a plan whose inputs are not known, one after the other.
 * @returns what each matrix lost
 * @throws NonFiniteError, FileError, ArgumentError, CancelledError, OutOfMemoryError, DeviceLostError
 */
export async function writePruned(
  work: Omit<Work, 'plan' | 'written' | 'saturated' | 'strict'> & {
    readonly tensors: readonly PlannedTensor[];
    readonly thresholds: ReadonlyMap<Pruning, Threshold>;
    /** Bytes of the input that are done, and in all. */
    readonly done: number;
    readonly total: number;
    readonly notice: (text: string) => void;
  },
): Promise<Map<string, MatrixLosses>> {
  const { tensors, thresholds, writer, total, signal, onProgress, record } = work;
  const losses = new Map<string, MatrixLosses>();
  let { done } = work;
  for (const tensor of tensors) {
    checkCancelled(signal, 'The compression');
    const [rows, k] = tensor.weight.shape as [number, number];
    // Every column counts alike.
    const quantize = { importance: new Float32Array(k).fill(1) };
    const threshold = tensor.prune && thresholds.get(tensor.prune);
    const { arrays, lost } = await recorded(record, 'compute', tensor.name, async () => {
      if (tensor.factors) {
        const { factorTensor } = await import('./factorize/factor-tensor.ts');
        const { product, ...made } = await factorTensor(work, tensor, { quantize }, threshold);
        product.release();
        return made;
      }
      const made = await compressMatrix(work, tensor, { quantize }, { correct: 0, threshold });
      return { ...made, arrays: inOutputOrder(tensor, made.arrays) };
    });
    losses.set(tensor.name, lost);
    await recorded(record, 'write', tensor.name, () => writer.write(tensor, arrays, rows, true));
    done += tensor.report.bytesBefore;
    onProgress?.({ done, total, tensor: tensor.name });
  }
  return losses;
}
