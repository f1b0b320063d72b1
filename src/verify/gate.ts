import type { Format } from '../formats/format.ts';
import type { Graph } from '../graph/graph.ts';
import { denseFormatOf } from '../passes/stored-weight.ts';
import { wholeRoles } from '../passes/whole-weight.ts';
import { percentText } from './figures.ts';
import { nextFormat } from './next-format.ts';
import type { Report } from './report-schema.ts';
import type { WeightPair } from './sizes.ts';
import { MIN_INTERVAL_VALUES } from './statistics.ts';

type Gate = NonNullable<Report['gate']>;
type Sensitivity = NonNullable<Report['accuracy']>['sensitivity'];

/** Tensors that a failed gate names. */
const COSTLIEST = 5;

/**
 * Whether perplexity rose by no more than `most`, a fraction. `accuracy` is null where a model gives no numbers: that fails.
 */
export function judge(
  most: number,
  accuracy: Report['accuracy'],
  tensors: Report['size']['tensors'],
  pairs: readonly WeightPair[],
  graph: Graph,
): Gate {
  const compressed = accuracy?.perplexity.compressed ?? null;
  const increase = accuracy && compressed !== null ? compressed / accuracy.perplexity.original - 1 : null;
  return {
    maxPerplexityIncrease: most,
    increase,
    passed: increase !== null && increase <= most,
    costliest: costliest(accuracy?.sensitivity ?? [], tensors, pairs, graph),
  };
}

/** A note where the text is too short for what a gate asks: noise alone can then pass or fail it. Undefined where it is long enough. */
export function noiseNote({ maxPerplexityIncrease: most }: Gate, accuracy: Report['accuracy']): string | undefined {
  if (!accuracy) return undefined;
  const { windows, increaseInterval: interval } = accuracy;
  const found = interval
    ? `the 95% interval of the increase of perplexity is ${percentText(interval[1] - interval[0])} wide, the gate allows ${percentText(most)}`
    : `no interval can be made of ${windows}, it takes ${MIN_INTERVAL_VALUES}`;
  if (interval && interval[1] - interval[0] <= Math.abs(most)) return undefined;
  return `Too few windows for this gate: ${found}. Chance can decide it; score more of the text (--windows), or a longer one.`;
}

/**
 * The tensors that cost most. Loss is measured a layer at a time, so a tensor's cost is its layer's loss increase times its share of the
 * layer's squared weight error: for inputs of equal size, the squared error of a matrix's outputs is proportional to that of its weights.
 * It is an attribution, not a measurement. Ties, such as layers that cost nothing, go by relative error.
 */
function costliest(
  sensitivity: Sensitivity,
  tensors: Report['size']['tensors'],
  pairs: readonly WeightPair[],
  graph: Graph,
): Gate['costliest'] {
  const layerOf = new Map([...wholeRoles(graph)].map(([name, { layer }]) => [name, layer ?? null]));
  const increases = new Map(sensitivity.map(({ layer, lossIncrease }) => [layer, Math.max(0, lossIncrease)]));
  const errors = new Map<number | null, number>();
  const changed = tensors.flatMap((tensor, i) => {
    const layer = layerOf.get(tensor.name);
    if (layer === undefined || !tensor.squaredError) return [];
    errors.set(layer, (errors.get(layer) ?? 0) + tensor.squaredError);
    return [{ tensor, pair: pairs[i]!, layer }];
  });
  return changed
    .map(({ tensor, pair, layer }) => ({
      tensor,
      pair,
      cost: ((increases.get(layer) ?? 0) * tensor.squaredError!) / errors.get(layer)!,
    }))
    .sort((a, b) => b.cost - a.cost || b.tensor.relativeError! - a.tensor.relativeError!)
    .slice(0, COSTLIEST)
    .map(({ tensor, pair, cost }) => ({
      name: tensor.name,
      format: tensor.format,
      cost,
      next: nextOf(pair)?.name ?? null,
    }));
}

function nextOf({ original, compressed }: WeightPair) {
  const formatOf = (weight: typeof original): Format | undefined => {
    if (weight.kind === 'factored') return weight.base && formatOf(weight.base);
    return weight.kind === 'quantized' ? weight.format : denseFormatOf(weight.info.type);
  };
  const now = formatOf(compressed);
  return now && nextFormat(now, formatOf(original));
}
