import { formatByName } from '../../src/formats/registry.ts';
import type { Gpu } from '../../src/gpu/gpu.ts';
import type { Graph, GraphWeight } from '../../src/graph/graph.ts';
import { uploadWeight, type Weight } from '../../src/kernels/weight.ts';
import { filled, gaussian, generator } from './layers/bench.ts';

export interface RandomWeights {
  readonly weights: ReadonlyMap<string, Weight>;
  /** The same numbers for the reference. */
  readonly values: (name: string) => Float32Array;
  release(): void;
}

/** Weights in f32 for every weight of a graph, from a seed: values keep their size from layer to layer, and no two norms are alike. */
export function randomWeights(gpu: Gpu, graph: Graph, seed: number): RandomWeights {
  const next = generator(seed);
  const format = formatByName('f32');
  const values = new Map<string, Float32Array>();
  const weights = new Map<string, Weight>();
  for (const { name, shape, role } of graph.weights) {
    const k = shape.at(-1)!;
    const rows = shape.length === 1 ? 1 : shape[0]!;
    const numbers = filled(rows * k, () => draw(role, k, next));
    values.set(name, numbers);
    weights.set(name, uploadWeight(gpu, format, rows, k, format.reference.quantize(numbers, rows, k), name));
  }
  return {
    weights,
    values: (name) => values.get(name)!,
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
