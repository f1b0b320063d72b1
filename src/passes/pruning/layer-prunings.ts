import type { Checkpoint } from '../../files/checkpoint.ts';
import { quote } from '../../files/text.ts';
import type { Graph } from '../../graph/graph.ts';
import type { Calibration } from '../calibration/calibration.ts';
import { checkFiniteColumns } from '../calibration/finite-columns.ts';
import { type InputGroup, inputGroups } from '../calibration/input-groups.ts';
import type { Statistics, StatisticsSource } from '../calibration/statistics.ts';
import { walkInputs } from '../calibration/walk.ts';
import { checkpointSource } from '../load-weights.ts';
import type { PlannedTensor } from '../plan.ts';
import { type MatrixCosts, measureCosts, sensitivePrunings } from './layer-sensitivities.ts';
import { type LayerMatrix, outlierPrunings } from './outlier-ratios.ts';
import type { SliceSource } from './pruned-slices.ts';
import { differs, type Pruning } from './pruning.ts';

/**
 * How matrices are pruned whose rules give layers sparsities of their own, by name: what all inputs are like in the original model decides it before any is pruned.
 * @throws ArgumentError for inputs that are no numbers; NonFiniteError, FileError, OutOfMemoryError, DeviceLostError, CancelledError
 */
export async function layerPrunings(
  source: SliceSource & { readonly checkpoint: Checkpoint },
  graph: Graph,
  inputs: Calibration | StatisticsSource,
  tensors: readonly PlannedTensor[],
  onStep?: (done: number, total: number) => void,
): Promise<ReadonlyMap<string, Pruning>> {
  const rules = new Set(tensors.flatMap(({ prune }) => (prune && differs(prune.layers) ? [prune] : [])));
  if (rules.size === 0) return new Map();
  const of = new Map(
    tensors.flatMap((tensor) => (tensor.prune && rules.has(tensor.prune) ? [[tensor.name, tensor]] : [])),
  );
  const matrices: LayerMatrix[] = [];
  const measured: MatrixCosts[] = [];
  const visit = async ({ weights, layer }: InputGroup, statistics: Statistics) => {
    const { meanSquare } = await statistics.columns();
    const names = weights.filter((name) => of.has(name)).map(quote);
    checkFiniteColumns(meanSquare, `The inputs of ${names.join(', ')}`);
    for (const name of weights) {
      const tensor = of.get(name);
      if (!tensor) continue;
      if (tensor.prune!.layers === 'owl') matrices.push({ tensor, layer, meanSquare });
      else measured.push({ tensor, layer, costs: await measureCosts(source, tensor, meanSquare, statistics.hessian) });
    }
    return new Map();
  };
  const wanted = ({ weights }: InputGroup) => weights.some((name) => of.has(name));
  const { gpu, checkpoint, signal } = source;
  if ('load' in inputs) {
    for (const group of inputGroups(graph).filter(wanted)) {
      const statistics = await inputs.load(gpu, group, signal);
      try {
        await visit(group, statistics);
      } finally {
        statistics.release();
      }
    }
  } else {
    const { windows } = inputs;
    const weights = checkpointSource(gpu, checkpoint, signal);
    await walkInputs({
      gpu,
      graph,
      source: weights,
      windows,
      visit,
      wanted,
      columnsOnly: [...rules].every(({ layers }) => layers === 'owl'),
      ...(signal && { signal }),
      ...(onStep && { onWindow: onStep }),
    });
  }
  const prunings = new Map<string, Pruning>();
  for (const rule of rules) {
    const ofRule = ({ tensor }: { readonly tensor: PlannedTensor }) => tensor.prune === rule;
    const found =
      rule.layers === 'owl'
        ? await outlierPrunings(source, rule, matrices.filter(ofRule))
        : sensitivePrunings(rule, measured.filter(ofRule));
    for (const [name, own] of found) prunings.set(name, own);
  }
  return prunings;
}
