import type { Checkpoint } from '../files/checkpoint.ts';
import { factoredNode } from '../files/weight-tree.ts';
import { formatByName } from '../formats/registry.ts';
import type { Gpu } from '../gpu/gpu.ts';
import { Scratch } from '../gpu/scratch.ts';
import type { Graph, GraphWeight } from '../graph/graph.ts';
import { factorsOf } from '../graph/low-rank.ts';
import { gemmScratch, gemmSteps } from '../kernels/gemm.ts';
import { allocateWeight, type Weight } from '../kernels/weight.ts';
import { readFloats, uploadRows } from './lowrank/dense-rows.ts';
import { chunkRows, matrixShape, readValues, type StoredWeight, weightsOf } from './stored-weight.ts';

/** A matrix as the original names it, which a model has as left · right, or base + left · right. */
export interface FactoredWeight {
  readonly kind: 'factored';
  readonly shape: readonly [number, number];
  readonly base: StoredWeight | undefined;
  readonly left: StoredWeight;
  readonly right: StoredWeight;
}

/** A weight of the original model in any form that can be computed with. */
export type WholeWeight = StoredWeight | FactoredWeight;

/** What a weight is stored as: itself, or what it is made of. */
export const storedParts = (weight: WholeWeight): StoredWeight[] =>
  weight.kind === 'factored' ? [...(weight.base ? [weight.base] : []), weight.right, weight.left] : [weight];

/** Every weight by the name that the original has for it, in the order of names. @throws FileError where one can't be computed with */
export function wholeWeights(checkpoint: Checkpoint): Map<string, WholeWeight> {
  const weights: Map<string, WholeWeight> = weightsOf(checkpoint);
  for (const [name, node] of checkpoint.tree?.weights ?? []) {
    if (!factoredNode(node)) continue;
    const names = factorsOf(name);
    const take = (part: string): StoredWeight | undefined => {
      const found = weights.get(part) as StoredWeight | undefined;
      weights.delete(part);
      return found;
    };
    const [base, left, right] = [take(names.base), take(names.left)!, take(names.right)!];
    weights.set(name, { kind: 'factored', shape: [left.shape[0]!, right.shape[1]!], base, left, right });
  }
  return weights;
}

/** The weights of a graph by the names that the original has for them: parts of one that is factored under its name. */
export function wholeRoles({ weights }: Graph): Map<string, GraphWeight> {
  const roles = new Map(weights.map((weight) => [weight.name, weight]));
  for (const weight of weights) {
    const whole = /^(.+)\.left$/s.exec(weight.name)?.[1];
    if (whole !== undefined && roles.has(factorsOf(whole).right)) roles.set(whole, { ...weight, name: whole });
  }
  return roles;
}

/** Some rows of a weight as f32. The product of factors is computed on the GPU. */
export async function readWhole(
  gpu: Gpu,
  checkpoint: Checkpoint,
  weight: WholeWeight,
  rowStart: number,
  rows: number,
  signal?: AbortSignal,
): Promise<Float32Array> {
  if (weight.kind !== 'factored') return readValues(checkpoint, weight, rowStart, rows, signal);
  const { base, left, right } = weight;
  const [rank, columns] = right.shape as readonly [number, number];
  const scratch = new Scratch(gpu);
  try {
    const a = scratch.upload(await readValues(checkpoint, left, rowStart, rows, signal), 'left factor');
    const b = scratch.upload(await readValues(checkpoint, right, 0, rank, signal), 'right factor');
    const c = base
      ? scratch.upload(await readValues(checkpoint, base, rowStart, rows, signal), 'base')
      : scratch.room(4 * rows * columns, 'product');
    const steps = gemmSteps({
      ...{ a: { ...a, width: rank }, b: { ...b, width: columns }, c: { ...c, width: columns } },
      ...{ rows, columns, inner: rank, keep: Number(base !== undefined) },
      scratch: scratch.room(Math.max(4, gemmScratch(rows, columns, rank)), 'parts'),
    });
    await gpu.scheduler.run(steps, signal && { signal });
    return await readFloats(gpu, c, rows * columns);
  } finally {
    scratch.release();
  }
}

/** All of a matrix in f32 on the GPU, however it is stored. The caller releases it. @throws FileError, OutOfMemoryError, CancelledError */
export async function loadWhole(
  gpu: Gpu,
  checkpoint: Checkpoint,
  weight: WholeWeight,
  label: string,
  signal?: AbortSignal,
): Promise<Weight> {
  const { rows, k } = matrixShape(weight.shape);
  const loaded = allocateWeight(gpu, formatByName('f32'), rows, k, label);
  try {
    const most = chunkRows(4 * k);
    for (let row = 0; row < rows; row += most) {
      const count = Math.min(most, rows - row);
      uploadRows(gpu, loaded, await readWhole(gpu, checkpoint, weight, row, count, signal), row);
    }
    return loaded;
  } catch (error) {
    loaded.release();
    throw error;
  }
}
