import { checkCancelled } from '../../files/cancel.ts';
import type { Checkpoint } from '../../files/checkpoint.ts';
import type { Gpu } from '../../gpu/gpu.ts';
import type { Graph, WeightName } from '../../graph/graph.ts';
import type { Weight } from '../../kernels/weight.ts';
import type { Calibration } from '../calibration/calibration.ts';
import { inputGroups } from '../calibration/input-groups.ts';
import type { Statistics, StatisticsSource } from '../calibration/statistics.ts';
import { walkInputs } from '../calibration/walk.ts';
import { checkpointSource } from '../load-weights.ts';
import type { WhitenBy } from '../lowrank/whiten-by.ts';
import { type Whitening, whiteningOf } from '../lowrank/whitening.ts';
import { loadWhole, wholeWeights } from '../whole-weight.ts';

/** Matrices to look at, and what shows their inputs. */
export interface WhitenedWork<Named extends { readonly name: string }> {
  readonly gpu: Gpu;
  readonly checkpoint: Checkpoint;
  readonly graph: Graph | undefined;
  readonly tensors: readonly Named[];
  readonly inputs: Calibration | StatisticsSource | undefined;
  readonly by?: WhitenBy;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((done: number, total: number, tensor: string) => void) | undefined;
}

/** A matrix f32 and what weighs its errors; what is returned takes its place in the rest of the walk. */
export type LookAt<Named> = (tensor: Named, weight: Weight, whitening?: Whitening) => Promise<Weight | undefined>;

/** Looks at matrices one after the other, in the order of the graph where their inputs are to be known: with what whitens them, if they can be. */
export async function eachWhitened<Named extends { readonly name: string }>(
  work: WhitenedWork<Named>,
  look: LookAt<Named>,
): Promise<void> {
  const { gpu, checkpoint, graph, tensors, inputs, signal, onProgress } = work;
  const stored = wholeWeights(checkpoint);
  const planned = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  let done = 0;
  const one = async (tensor: Named, whitening?: Whitening): Promise<Weight | undefined> => {
    checkCancelled(signal, 'The factorization');
    onProgress?.(done++, tensors.length, tensor.name);
    const weight = await loadWhole(gpu, checkpoint, stored.get(tensor.name)!, tensor.name, signal);
    try {
      return await look(tensor, weight, whitening);
    } finally {
      weight.release();
    }
  };
  const groups = graph && inputs ? inputGroups(graph) : [];
  const shown = new Set(groups.flatMap(({ weights }) => weights));
  const wanted = groups.filter(({ weights }) => weights.some((name) => planned.has(name)));
  const visit = async (names: readonly WeightName[], known: Statistics): Promise<Map<WeightName, Weight>> => {
    const { meanSquare } = await known.columns();
    const given = { by: work.by ?? 'hessian', hessian: known.hessian, diagonal: meanSquare };
    // Who writes the factors says so.
    const whitening = await whiteningOf(gpu, given, () => {}, signal);
    const replaced = new Map<WeightName, Weight>();
    try {
      for (const name of names) {
        const tensor = planned.get(name);
        const instead = tensor && (await one(tensor, whitening));
        if (instead) replaced.set(name, instead);
      }
      return replaced;
    } catch (error) {
      for (const weight of replaced.values()) weight.release();
      throw error;
    } finally {
      whitening?.release();
    }
  };
  if (inputs && 'load' in inputs) {
    for (const group of wanted) {
      const known = await inputs.load(gpu, group, signal);
      try {
        for (const weight of (await visit(group.weights, known)).values()) weight.release();
      } finally {
        known.release();
      }
    }
  } else if (inputs && graph) {
    await walkInputs({
      ...{ gpu, graph, source: checkpointSource(gpu, checkpoint, signal), windows: inputs.windows },
      wanted: ({ weights }) => weights.some((name) => planned.has(name)),
      visit: (group, known) => visit(group.weights, known),
      ...(signal && { signal }),
    });
  }
  for (const tensor of tensors) if (!shown.has(tensor.name)) (await one(tensor))?.release();
  onProgress?.(tensors.length, tensors.length, '');
}
