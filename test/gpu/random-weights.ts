import { formatByName } from '../../src/formats/registry.ts';
import type { Gpu } from '../../src/gpu/gpu.ts';
import type { Graph, GraphWeight } from '../../src/graph/graph.ts';
import { stackLimits } from '../../src/kernels/stack-weights.ts';
import { allocateWeight, type Weight, writeWeight } from '../../src/kernels/weight.ts';
import { matrixShape } from '../../src/passes/stored-weight.ts';
import { allocateRun, weightRuns } from '../../src/passes/weight-runs.ts';
import { filled, gaussian, generator } from './layers/bench.ts';

export interface RandomWeights {
  readonly weights: ReadonlyMap<string, Weight>;
  /** The same numbers for the reference. */
  readonly values: (name: string) => Float32Array;
  release(): void;
}

/** Numbers for every weight of a graph, from a seed: values keep their size from layer to layer, and no two norms are alike. */
export function randomValues(graph: Graph, seed: number): (name: string) => Float32Array {
  const next = generator(seed);
  const values = new Map<string, Float32Array>();
  for (const { name, shape, role } of graph.weights) {
    const k = shape.at(-1)!;
    const rows = shape.length === 1 ? 1 : shape[0]!;
    values.set(
      name,
      filled(rows * k, () => draw(role, k, next)),
    );
  }
  return (name) => values.get(name)!;
}

/** The same on the GPU, in f32. */
export function randomWeights(gpu: Gpu, graph: Graph, seed: number): RandomWeights {
  const format = formatByName('f32');
  const values = randomValues(graph, seed);
  const weights = new Map<string, Weight>();
  // As models are loaded: what multiplies the same input follows in memory.
  const place = (wanted: GraphWeight) => ({ wanted, format, ...matrixShape(wanted.shape) });
  for (const run of weightRuns(graph, stackLimits(gpu), place)) {
    const made =
      run.length > 1
        ? allocateRun(gpu, run)
        : run.map(({ rows, k, wanted }) => allocateWeight(gpu, format, rows, k, wanted.name));
    for (const [i, { wanted, rows, k }] of run.entries()) {
      writeWeight(gpu, made[i]!, format.reference.quantize(values(wanted.name), rows, k));
      weights.set(wanted.name, made[i]!);
    }
  }
  return {
    weights,
    values,
    release: () => {
      for (const weight of weights.values()) weight.release();
    },
  };
}

function draw(role: GraphWeight['role'], k: number, next: () => number): number {
  if (role === 'norm') return 1 + 0.3 * gaussian(next);
  if (role === 'bias') return 0.3 * gaussian(next);
  return (1.5 * gaussian(next)) / Math.sqrt(role === 'embedding' ? 1 : k);
}
