import { ArgumentError, FormatError, RecipeError } from '../../errors.ts';
import type { Checkpoint } from '../../files/checkpoint.ts';
import { quote } from '../../files/text.ts';
import type { Format } from '../../formats/format.ts';
import { greatestCommonDivisor } from '../../formats/layout.ts';
import type { Graph } from '../../graph/graph.ts';
import type { RecipeOptions } from '../compress-options.ts';
import { modelGraph } from '../model-graph.ts';
import { type Coupling, findCouplings } from './couplings.ts';
import { LayerCheckpoint } from './layer-checkpoint.ts';
import { NarrowCheckpoint } from './narrow-checkpoint.ts';
import type { Shrunk } from './shrink-model.ts';
import { ranksLayers, type Shrinking, shrinkNeedsInputs, unitsLeft } from './shrinking.ts';

/**
 * Decides from headers how many units of each layer stay, and how many layers.
 * @param checkpoint the result's, unless it throws
 * @param layers those that stay, once they are chosen; until then the first stand for them
 * @throws ArgumentError for bare tensors, and where nothing would go or be left; RecipeError where there has to be a calibration; ModelError, FileError for a
 * model that can't be shrunk
 */
export function planShrinking(
  checkpoint: Checkpoint,
  graph: Graph | undefined,
  shrinking: Shrinking,
  { calibration, statistics }: RecipeOptions,
  layers?: readonly number[],
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
      : repair === 'none'
        ? `The score ${score}`
        : `The repair ${repair}`;
    throw new RecipeError(
      `${what} needs a calibration text (--calibration, or the option "calibration"), to know what "${shrinking.text}" costs.`,
    );
  }
  const amount = shrinking.amounts.get('layers');
  if (!amount) return { shrinking, removedBytes: 0, ...narrowed(checkpoint, graph, shrinking) };
  const stay = unitsLeft('layers', amount, graph.layers, name);
  const shorter = new LayerCheckpoint(checkpoint, graph, layers ?? Array.from({ length: stay }, (_, layer) => layer));
  const whole = { checkpoint, graph, left: stay };
  const rest = narrowed(shorter, modelGraph(shorter), shrinking);
  return { shrinking, whole, removedBytes: shorter.removedBytes, ...rest };
}

/**
 * Holds the matrices that read what is left to the formats that they get.
 * @param formatOf the format that a matrix gets; undefined: it keeps its own
 * @throws FormatError that says which numbers would work, where rows would have no whole blocks
 */
export function checkRowsLeft({ left }: Shrunk, formatOf: (weight: string) => Format | undefined): void {
  for (const [{ structure, reader, units, columns }, stay] of left) {
    const format = formatOf(reader);
    const k = stay * columns;
    if (!format || k % format.block === 0) continue;
    const step = format.block / greatestCommonDivisor(format.block, columns);
    const below = Math.floor(stay / step) * step;
    const fitting = [below + step, below].filter((count) => count > 0 && count < units);
    const advice = fitting.map((count) => `${structure}:${units - count}`).join(' or ');
    throw new FormatError(
      `Tensor ${quote(reader)} cannot be stored as ${format.name}: its rows would have ${k} weights, which is no multiple of the block size ${format.block}. ` +
        (advice ? `Give ${advice}.` : 'Choose a format with smaller blocks.'),
    );
  }
}

/** The model with fewer units in each layer. */
function narrowed(
  checkpoint: Checkpoint,
  graph: Graph,
  { amounts }: Shrinking,
): Pick<Shrunk, 'original' | 'graph' | 'narrow' | 'left'> {
  const { name } = checkpoint;
  const left = new Map<Coupling, number>();
  const config: Record<string, number> = {};
  for (const [structure, amount] of amounts) {
    if (structure === 'layers') continue;
    const couplings = findCouplings(graph, structure, name);
    const [{ units, makers }] = couplings as [Coupling];
    const stay = unitsLeft(structure, amount, units, name);
    for (const coupling of couplings) left.set(coupling, stay);
    if (structure === 'ffn') config.intermediate_size = stay;
    else {
      // Of queries, and of keys, whose group has one head.
      const [queries, headDim] = [makers[0]!.rows, Math.min(...makers.map(({ rows }) => rows))];
      config.num_key_value_heads = stay;
      config.num_attention_heads = (stay * queries) / headDim;
      config.head_dim = headDim;
    }
  }
  const order = graph.operations.map(({ out }) => out);
  const inOrder = [...left].sort(([a], [b]) => order.indexOf(a.input) - order.indexOf(b.input));
  const sorted = new Map(inOrder);
  return {
    original: checkpoint,
    graph,
    narrow: new NarrowCheckpoint(checkpoint, sorted, config),
    left: sorted,
  };
}
