import { checkCancelled } from '../files/cancel.ts';
import { contentBytes } from '../formats/layout.ts';
import type { Gpu } from '../gpu/gpu.ts';
import type { Graph } from '../graph/graph.ts';
import { randomU32 } from '../graph/reference/random.ts';
import { readWeight, uploadWeight, type Weight } from '../kernels/weight.ts';

/**
 * The control that must fail: the linear matrices with their rows in a random order. Same values, same sizes, no meaning: an accuracy
 * measurement that does not notice it measures nothing. The caller releases what `created` lists.
 * @throws CancelledError, OutOfMemoryError
 */
export async function shuffledWeights(
  gpu: Gpu,
  graph: Graph,
  weights: ReadonlyMap<string, Weight>,
  signal?: AbortSignal,
): Promise<{ weights: Map<string, Weight>; created: Weight[] }> {
  const shuffled = new Map(weights);
  const created: Weight[] = [];
  try {
    for (const [index, { name, role }] of graph.weights.entries()) {
      if (role !== 'linear') continue;
      checkCancelled(signal, 'The verification');
      const weight = weights.get(name)!;
      const { format, rows, k } = weight;
      const order = permutation(rows, index);
      const arrays = await readWeight(gpu, weight);
      for (const array of format.arrays) {
        const from = arrays[array.name]!;
        const row = contentBytes(array, 1, k);
        const to = new Uint8Array(from.byteLength);
        for (const [at, source] of order.entries()) to.set(from.subarray(source * row, (source + 1) * row), at * row);
        arrays[array.name] = to;
      }
      const made = uploadWeight(gpu, format, rows, k, arrays, `${name} shuffled`);
      created.push(made);
      shuffled.set(name, made);
    }
  } catch (error) {
    for (const weight of created) weight.release();
    throw error;
  }
  return { weights: shuffled, created };
}

/** Fisher-Yates with counter-based random numbers. */
function permutation(n: number, seed: number): number[] {
  const order = Array.from({ length: n }, (_, i) => i);
  for (let i = n - 1; i > 0; i--) {
    const j = randomU32(seed, i) % (i + 1);
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order;
}
