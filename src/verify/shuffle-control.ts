import type { Format, HostArrays } from '../formats/format.ts';
import { contentBytes } from '../formats/layout.ts';
import type { Gpu } from '../gpu/gpu.ts';
import type { Graph } from '../graph/graph.ts';
import { randomU32 } from '../graph/reference/random.ts';
import { readWeight, type Weight, writeWeight } from '../kernels/weight.ts';

/** A linear matrix that a control changes. */
export interface ControlMatrix {
  readonly name: string;
  readonly format: Format;
  readonly rows: number;
  readonly k: number;
  /** Index among the graph's weights: no two have the same. */
  readonly index: number;
}

/** Makes a matrix of the control that must fail from one of the compressed model: arrays of the same sizes. */
export type ControlMaker = (arrays: HostArrays, matrix: ControlMatrix) => HostArrays | Promise<HostArrays>;

/**
 * The control: the rows of the matrix in a random order. Same values, same sizes, no meaning: an accuracy measurement that does not notice
 * it measures nothing.
 */
export const shuffledRows: ControlMaker = (arrays, { format, rows, k, index }) => {
  const order = permutation(format.blocks?.kept ?? rows, index);
  const shuffled = format.arrays.map((array) => {
    const from = arrays[array.name]!;
    // What rows share stays; of blocks that are stored each is another one.
    if (array.span || array.band || array.sets === 1) return [array.name, from] as const;
    const row = contentBytes(array, 1, k) / (array.sets ?? 1);
    const to = new Uint8Array(from.byteLength);
    for (const [at, source] of order.entries()) to.set(from.subarray(source * row, (source + 1) * row), at * row);
    return [array.name, to] as const;
  });
  return Object.fromEntries(shuffled);
};

/**
 * Changes the linear matrices among these weights in place, one at a time: then they are the control's.
 * @throws what `control` throws, OutOfMemoryError
 */
export async function makeControl(
  gpu: Gpu,
  graph: Graph,
  weights: ReadonlyMap<string, Weight>,
  control: ControlMaker,
): Promise<void> {
  for (const [index, { name, role }] of graph.weights.entries()) {
    const weight = weights.get(name);
    if (role !== 'linear' || !weight) continue;
    const { format, rows, k } = weight;
    writeWeight(gpu, weight, await control(await readWeight(gpu, weight), { name, format, rows, k, index }));
  }
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
