import type { Checkpoint } from '../files/checkpoint.ts';
import type { Format } from '../formats/format.ts';
import { formatByName } from '../formats/registry.ts';
import type { Gpu } from '../gpu/gpu.ts';
import type { Graph, GraphWeight, ValueName, WeightName } from '../graph/graph.ts';
import { isRightFactor } from '../graph/low-rank.ts';
import { allocateStack, type StackLimits, stacks } from '../kernels/stack-weights.ts';
import type { Weight } from '../kernels/weight.ts';
import { gpuFormat, type LoadOptions } from './load-weights.ts';
import { findWeight, matrixShape } from './stored-weight.ts';

/** A weight as it will lie on the GPU: a vector is one row. */
export interface PlacedWeight {
  readonly wanted: GraphWeight;
  readonly format: Format;
  readonly rows: number;
  readonly k: number;
}

/** Weights of a graph by what they multiply: those of products of one input together in their order, and their biases; left factors by the input of their right ones. */
function groupsOf({ operations, weights }: Graph): GraphWeight[][] {
  const byInput = new Map<ValueName, { matrices: WeightName[]; biases: WeightName[] }>();
  /** Of inner values of factors: the input of the right ones. */
  const inner = new Map<ValueName, ValueName>();
  for (const operation of operations) {
    if (operation.op !== 'linear') continue;
    const { x, weight, bias, out } = operation;
    const right = isRightFactor(weight);
    if (right) inner.set(out, x);
    // Factors of each kind by themselves: matrices lie between them in the graph.
    const input = right ? `${x}, right` : inner.has(x) ? `${inner.get(x)}, left` : x;
    const { matrices, biases } = byInput.get(input) ?? { matrices: [], biases: [] };
    matrices.push(weight);
    if (bias !== undefined) biases.push(bias);
    byInput.set(input, { matrices, biases });
  }
  const left = new Map(weights.map((weight) => [weight.name, weight]));
  const take = (names: readonly WeightName[]) =>
    names.flatMap((name) => {
      const weight = left.get(name);
      left.delete(name);
      return weight ? [weight] : [];
    });
  const groups = [...byInput.values()].flatMap(({ matrices, biases }) => [take(matrices), take(biases)]);
  return [...groups.filter((group) => group.length > 0), ...[...left.values()].map((weight) => [weight])];
}

/**
 * The weights of a graph in runs: those of a run follow each other in memory, so that one launch can multiply with all. What differs in its format, or can't be
 * bound by itself behind another, begins a run of its own.
 */
export function weightRuns(
  graph: Graph,
  limits: StackLimits,
  place: (wanted: GraphWeight) => PlacedWeight,
): PlacedWeight[][] {
  return groupsOf(graph).flatMap((group) => {
    const runs: PlacedWeight[][] = [];
    for (const placed of group.map(place)) {
      const run = runs.at(-1);
      if (run && fits(run, placed, limits)) run.push(placed);
      else runs.push([placed]);
    }
    return runs;
  });
}

/** How `loadWeights` places the weights of a checkpoint. */
export const placeOf =
  (checkpoint: Checkpoint, options: LoadOptions = {}) =>
  (wanted: GraphWeight): PlacedWeight => {
    const stored = findWeight(checkpoint, wanted.name);
    const format = wanted.role === 'bias' ? formatByName('f32') : gpuFormat(stored, wanted.role, options);
    return { wanted, format, ...matrixShape(stored.shape) };
  };

/** Vectors are stacked as rows of one number. */
const asRows = ({ wanted, rows, k }: PlacedWeight) => (wanted.role === 'bias' ? { rows: k, k: 1 } : { rows, k });

function fits(run: readonly PlacedWeight[], next: PlacedWeight, limits: StackLimits): boolean {
  const all = [...run, next].map(asRows);
  const { k } = all[0]!;
  if (next.format !== run[0]!.format || all.some((one) => one.k !== k)) return false;
  return stacks(
    next.format,
    k,
    all.map(({ rows }) => rows),
    limits,
  );
}

/** Room for a run of several. @throws OutOfMemoryError */
export function allocateRun(gpu: Gpu, run: readonly PlacedWeight[]): Weight[] {
  const { format } = run[0]!;
  const members = run.map((one) => ({ name: one.wanted.name, rows: asRows(one).rows }));
  const made = allocateStack(gpu, format, asRows(run[0]!).k, members);
  return made.map((weight, i) => ({
    ...weight,
    rows: run[i]!.rows,
    k: run[i]!.k,
    parts: [{ ...weight.parts[0]!, rows: run[i]!.rows }],
  }));
}
