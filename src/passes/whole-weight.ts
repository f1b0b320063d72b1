import type { Checkpoint } from '../files/checkpoint.ts';
import { factoredNode } from '../files/weight-tree.ts';
import { formatByName } from '../formats/registry.ts';
import type { Gpu } from '../gpu/gpu.ts';
import type { BufferView } from '../gpu/kernel.ts';
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

/** Reads rows of a weight as f32, the product of factors computed on the GPU, where the right one stays until `release`. */
export class WholeReader {
  readonly #gpu: Gpu;
  readonly #checkpoint: Checkpoint;
  readonly #weight: WholeWeight;
  readonly #signal: AbortSignal | undefined;
  readonly #kept: Scratch;
  #right: BufferView | undefined;

  constructor(gpu: Gpu, checkpoint: Checkpoint, weight: WholeWeight, signal?: AbortSignal) {
    this.#gpu = gpu;
    this.#checkpoint = checkpoint;
    this.#weight = weight;
    this.#signal = signal;
    this.#kept = new Scratch(gpu);
  }

  /** @throws FileError, OutOfMemoryError, CancelledError, DeviceLostError */
  async read(rowStart: number, rows: number): Promise<Float32Array> {
    const weight = this.#weight;
    return weight.kind === 'factored'
      ? this.#product(weight, rowStart, rows)
      : readValues(this.#checkpoint, weight, rowStart, rows, this.#signal);
  }

  async #product({ base, left, right }: FactoredWeight, rowStart: number, rows: number): Promise<Float32Array> {
    const gpu = this.#gpu;
    const signal = this.#signal;
    const read = (part: StoredWeight, start: number, count: number) =>
      readValues(this.#checkpoint, part, start, count, signal);
    const [rank, columns] = right.shape as readonly [number, number];
    this.#right ??= this.#kept.upload(await read(right, 0, rank), 'right factor');
    const b = this.#right;
    const scratch = new Scratch(gpu);
    try {
      const a = scratch.upload(await read(left, rowStart, rows), 'left factor');
      const c = base
        ? scratch.upload(await read(base, rowStart, rows), 'base')
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

  release(): void {
    this.#right = undefined;
    this.#kept.release();
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
  const reader = new WholeReader(gpu, checkpoint, weight, signal);
  try {
    const most = chunkRows(4 * k);
    for (let row = 0; row < rows; row += most) {
      const count = Math.min(most, rows - row);
      uploadRows(gpu, loaded, await reader.read(row, count), row);
    }
    return loaded;
  } catch (error) {
    loaded.release();
    throw error;
  } finally {
    reader.release();
  }
}
