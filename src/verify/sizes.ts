import { ModelError } from '../errors.ts';
import { checkCancelled } from '../files/cancel.ts';
import type { Checkpoint } from '../files/checkpoint.ts';
import { tensorsOf } from '../files/weight-tree.ts';
import { chunkRows, findWeight, matrixShape, readValues, weightsOf } from '../passes/stored-weight.ts';
import type { Report } from './report.ts';

/**
 * Size of every weight in both checkpoints and its relative error, in f64, read in chunks.
 * @throws ModelError when the two do not hold the same weights
 */
export async function compareSizes(
  original: Checkpoint,
  compressed: Checkpoint,
  signal?: AbortSignal,
): Promise<Report['size']> {
  const tensors: Report['size']['tensors'] = [];
  const others = weightsOf(compressed);
  for (const [name, { shape }] of weightsOf(original)) {
    checkCancelled(signal, 'The verification');
    const other = others.get(name);
    if (!other || String(other.shape) !== String(shape)) {
      throw new ModelError(
        `${compressed.name}: weight "${name}" is ${other ? `[${other.shape}]` : 'missing'}; ${original.name} has [${shape}]. These are not the same model.`,
      );
    }
    const stored = findWeight(compressed, name);
    tensors.push({
      name,
      shape: [...shape],
      format: stored.kind === 'quantized' ? stored.format.name : stored.info.type.toLowerCase(),
      original: bytesOf(original, name),
      compressed: bytesOf(compressed, name),
      relativeError: stored.kind === 'quantized' ? await relativeError(original, compressed, name, signal) : 0,
    });
  }
  const isEmbedding = (name: string) => /embed|lm_head|wte/.test(name);
  const bits = (chosen: typeof tensors) => {
    const weights = chosen.reduce((sum, { shape }) => sum + shape.reduce((product, n) => product * n, 1), 0);
    return (8 * chosen.reduce((sum, t) => sum + t.compressed, 0)) / Math.max(1, weights);
  };
  return {
    original: tensors.reduce((sum, t) => sum + t.original, 0),
    compressed: tensors.reduce((sum, t) => sum + t.compressed, 0),
    bitsPerWeight: { all: bits(tensors), withoutEmbeddings: bits(tensors.filter(({ name }) => !isEmbedding(name))) },
    tensors,
  };
}

function bytesOf(checkpoint: Checkpoint, name: string): number {
  const node = checkpoint.tree?.weights.get(name);
  const parts = node ? tensorsOf(node) : [name];
  return parts.reduce((sum, part) => sum + checkpoint.tensors.get(part)!.byteLength, 0);
}

async function relativeError(
  original: Checkpoint,
  compressed: Checkpoint,
  name: string,
  signal?: AbortSignal,
): Promise<number> {
  const a = findWeight(original, name);
  const b = findWeight(compressed, name);
  const { rows, k } = matrixShape(a.shape);
  const step = chunkRows(4 * k);
  let difference = 0;
  let total = 0;
  for (let row = 0; row < rows; row += step) {
    const count = Math.min(step, rows - row);
    const x = await readValues(original, a, row, count, signal);
    const y = await readValues(compressed, b, row, count, signal);
    for (let i = 0; i < x.length; i++) {
      difference += (x[i]! - y[i]!) ** 2;
      total += x[i]! ** 2;
    }
  }
  return total === 0 ? (difference === 0 ? 0 : 1) : Math.sqrt(difference / total);
}
