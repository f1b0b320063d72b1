import { ArgumentError, FormatError, RecipeError } from '../../errors.ts';
import type { Checkpoint } from '../../files/checkpoint.ts';
import type { JsonObject } from '../../files/strict-json.ts';
import { quote } from '../../files/text.ts';
import type { Format } from '../../formats/format.ts';
import { greatestCommonDivisor } from '../../formats/layout.ts';
import type { Graph, WeightName } from '../../graph/graph.ts';
import type { RecipeOptions } from '../compress-options.ts';
import { modelGraph } from '../model-graph.ts';
import { type Coupling, findCouplings } from './couplings.ts';
import { ffnSizeOf } from './ffn-widths.ts';
import { LayerCheckpoint } from './layer-checkpoint.ts';
import { NarrowCheckpoint } from './narrow-checkpoint.ts';
import type { Shrunk } from './shrink-model.ts';
import {
  goesInRounds,
  ranksLayers,
  type Shrinking,
  type Structure,
  shrinkNeedsInputs,
  unitsLeft,
} from './shrinking.ts';

/** The format that a matrix gets; undefined: it keeps its own. */
export type FormatOf = (weight: WeightName) => Format | undefined;

/** What is only known once the model has run. */
export interface ShrinkChoice {
  /** Layers that stay. */
  readonly layers?: readonly number[] | undefined;
  /** Channels of FFNs that stay, by the matrix that reads them. */
  readonly widths?: ReadonlyMap<WeightName, number> | undefined;
}

/**
 * Decides from headers how many units of each layer stay, and how many layers.
 * @param checkpoint the result's, unless it throws
 * @param formatOf what a matrix is stored in; undefined: as it is
 * @param chosen once it is; until then the largest layers stand for those that stay, and all layers lose alike
 * @throws ArgumentError for bare tensors, and where nothing would go or be left; RecipeError where there has to be a calibration; ModelError, FileError for a
 * model that can't be shrunk; FormatError that says which numbers would work, where rows would have no whole blocks
 */
export function planShrinking(
  checkpoint: Checkpoint,
  graph: Graph | undefined,
  shrinking: Shrinking,
  { calibration, statistics }: RecipeOptions,
  formatOf: FormatOf,
  { layers, widths }: ShrinkChoice = {},
): Shrunk {
  const { name } = checkpoint;
  if (!graph) {
    throw new ArgumentError(
      `${name}: bare tensors can't be shrunk, since nothing says how they are used. Give the folder of the model.`,
    );
  }
  if (statistics) {
    throw new ArgumentError(
      `${statistics.name}: statistics are of the model as it was, not of the shrunken one. Give a calibration text, or shrink the model first ("keep") and gather them from that.`,
    );
  }
  if (!calibration && shrinkNeedsInputs(shrinking)) {
    const { repair, score } = shrinking;
    const what = ranksLayers(shrinking)
      ? 'Removing layers'
      : repair !== 'none'
        ? `The repair ${repair}`
        : score === 'magnitude'
          ? 'The spread over layers (sensitivity)'
          : `The score ${score}`;
    throw new RecipeError(
      `${what} needs a calibration text (--calibration, or the option "calibration"), to know what "${shrinking.text}" costs.`,
    );
  }
  const amount = shrinking.amounts.get('layers');
  const how = { shrinking, formatOf, widths };
  if (!amount) return { shrinking, removedBytes: 0, ...narrowed(checkpoint, graph, how) };
  const stay = unitsLeft('layers', amount, graph.layers, name);
  const shorter = new LayerCheckpoint(checkpoint, graph, layers ?? largestLayers(checkpoint, graph, stay));
  const whole = { checkpoint, graph, left: stay };
  const rest = narrowed(shorter, modelGraph(shorter), how);
  return { shrinking, whole, removedBytes: shorter.removedBytes, ...rest };
}

/** The layers that take most bytes, of equal ones the first, ascending: whichever stay, they take no more, so that a budget that those keep to is kept to. */
function largestLayers({ tensors }: Checkpoint, graph: Graph, count: number): number[] {
  const bytes = new Float64Array(graph.layers);
  for (const { name, layer } of graph.weights) {
    if (layer !== undefined) bytes[layer]! += tensors.get(name)?.byteLength ?? 0;
  }
  const order = [...bytes.keys()].sort((a, b) => bytes[b]! - bytes[a]! || a - b);
  return order.slice(0, count).sort((a, b) => a - b);
}

/**
 * Of how many units at a time there can be more or fewer, so that rows of the matrix that reads them have whole blocks.
 * @throws FormatError that says which numbers would work
 */
function checkedStep(
  { structure, reader, units, columns }: Coupling,
  stay: number,
  format: Format | undefined,
): number {
  if (!format) return 1;
  const step = format.block / greatestCommonDivisor(format.block, columns);
  if (stay % step === 0) return step;
  const below = Math.floor(stay / step) * step;
  const fitting = [below + step, below].filter((count) => count > 0 && count < units);
  const advice = fitting.map((count) => `${structure}:${units - count}`).join(' or ');
  throw new FormatError(
    `Tensor ${quote(reader)} cannot be stored as ${format.name}: its rows would have ${stay * columns} weights, which is no multiple of the block size ${format.block}. ` +
      (advice ? `Give ${advice}.` : 'Choose a format with smaller blocks.'),
  );
}

/** @throws ArgumentError where there are too few units for each round to remove more */
function checkEachRound(
  structure: Structure,
  couplings: readonly Coupling[],
  stays: readonly number[],
  { rounds, open }: Shrinking,
  name: string,
): void {
  if (open?.structure === structure) return;
  for (const [i, { units }] of couplings.entries()) {
    if (goesInRounds(units, stays[i]!, rounds)) continue;
    throw new ArgumentError(
      `${name}: ${units - stays[i]!} of ${units} ${structure} of each layer can't go in ${rounds} rounds with more in each: give fewer "rounds" (--rounds).`,
    );
  }
}

/** The model with fewer units in each layer. */
function narrowed(
  checkpoint: Checkpoint,
  graph: Graph,
  { shrinking, formatOf, widths }: { shrinking: Shrinking; formatOf: FormatOf; widths: ShrinkChoice['widths'] },
): Pick<Shrunk, 'original' | 'graph' | 'narrow' | 'left' | 'steps'> {
  const { name } = checkpoint;
  const left = new Map<Coupling, number>();
  let config: JsonObject = {};
  for (const [structure, amount] of shrinking.amounts) {
    if (structure === 'layers') continue;
    const couplings = findCouplings(graph, structure, name);
    const [{ makers }] = couplings as [Coupling];
    const differ = couplings.some(({ units }) => units !== couplings[0]!.units);
    const stays = couplings.map(
      ({ reader, units, layer }) =>
        (structure === 'ffn' ? widths?.get(reader) : undefined) ??
        unitsLeft(structure, amount, units, name, differ ? layer : undefined),
    );
    if (!widths) checkEachRound(structure, couplings, stays, shrinking, name);
    for (const [i, coupling] of couplings.entries()) left.set(coupling, stays[i]!);
    if (structure === 'ffn') config = { ...config, intermediate_size: ffnSizeOf(stays) };
    else {
      // Of queries, and of keys, whose group has one head.
      const [queries, headDim] = [makers[0]!.rows, Math.min(...makers.map(({ rows }) => rows))];
      const heads = { num_key_value_heads: stays[0]!, num_attention_heads: (stays[0]! * queries) / headDim };
      config = { ...config, ...heads, head_dim: headDim };
    }
  }
  const order = graph.operations.map(({ out }) => out);
  const inOrder = [...left].sort(([a], [b]) => order.indexOf(a.input) - order.indexOf(b.input));
  const sorted = new Map(inOrder);
  const narrow = new NarrowCheckpoint(checkpoint, sorted, config);
  const steps = new Map(
    inOrder.map(([coupling, stay]) => [coupling, checkedStep(coupling, stay, formatOf(coupling.reader))]),
  );
  return { original: checkpoint, graph, narrow, left: sorted, steps };
}
