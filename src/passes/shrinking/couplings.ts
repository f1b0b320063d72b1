import { ModelError } from '../../errors.ts';
import type { Graph, Operation, ValueName, WeightName } from '../../graph/graph.ts';
import { inputsOf } from '../../graph/inputs.ts';
import type { Structure } from './shrinking.ts';

/** A matrix or a bias of which rows go. */
export interface CoupledRows {
  readonly name: WeightName;
  /** Rows of a unit, next to each other. */
  readonly rows: number;
}

/**
 * Units of a layer that can be removed together with all that makes and reads them: rows of the matrices that make them, columns of the one that reads what
 * becomes of them.
 */
export interface Coupling {
  readonly structure: Structure;
  readonly layer: number;
  /** How many there are. */
  readonly units: number;
  /** What the reading matrix multiplies. */
  readonly input: ValueName;
  readonly reader: WeightName;
  /** Its bias, which makes up for the mean of what goes. */
  readonly bias?: WeightName;
  /** Columns of a unit, next to each other. */
  readonly columns: number;
  readonly makers: readonly CoupledRows[];
}

/**
 * The channels of gated FFNs, or the key and value heads with their query heads, of all layers, as the graph couples them.
 * @throws ModelError where something else reads what they make
 */
export function findCouplings(graph: Graph, structure: Exclude<Structure, 'layers'>, name: string): Coupling[] {
  const couplings: Coupling[] = [];
  for (const [at, operation] of graph.operations.entries()) {
    const found = structure === 'ffn' ? ffnUnits(operation, graph) : headUnits(operation);
    if (!found) continue;
    const { units, columns, made } = found;
    const input = operation.out;
    const readers = readersOf(graph, input);
    const [reader] = readers;
    if (readers.length !== 1 || reader?.op !== 'linear') throw coupled(name, input, reader);
    const makers = made.flatMap(({ value, rows }) => makersOf(graph, value, rows, operation, name));
    const layer = graph.layerRanges.findIndex(([from, to]) => at >= from && at < to);
    const bias = reader.bias === undefined ? {} : { bias: reader.bias };
    couplings.push({ structure, layer, units, input, reader: reader.weight, ...bias, columns, makers });
  }
  if (couplings.length === 0) throw new ModelError(`${name}: it has no layers with ${structure} to remove.`);
  const [first] = couplings;
  // A config has one number of heads for all layers.
  if (structure === 'ffn') return couplings;
  const other = couplings.find(({ units, columns }) => units !== first!.units || columns !== first!.columns);
  if (!other) return couplings;
  throw new ModelError(
    `${name}: layers ${first!.layer} and ${other.layer} differ in size, so the same number can't go from each.`,
  );
}

interface Units {
  readonly units: number;
  readonly columns: number;
  readonly made: readonly { readonly value: ValueName; readonly rows: number }[];
}

function ffnUnits(operation: Operation, graph: Graph): Units | undefined {
  if (operation.op !== 'silu-mul' && operation.op !== 'gelu-mul') return undefined;
  const { gate, up, out } = operation;
  const made = [gate, up].map((value) => ({ value, rows: 1 }));
  return { units: graph.values[out]!, columns: 1, made };
}

function headUnits(operation: Operation): Units | undefined {
  if (operation.op !== 'attention') return undefined;
  const { q, k, v, heads, kvHeads, headDim } = operation;
  const shared = (heads / kvHeads) * headDim;
  const made = [
    { value: q, rows: shared },
    { value: k, rows: headDim },
    { value: v, rows: headDim },
  ];
  return { units: kvHeads, columns: shared, made };
}

const readersOf = ({ operations }: Graph, value: ValueName): Operation[] =>
  operations.filter((operation) => inputsOf(operation).includes(value));

/** The matrix, and its bias, that a value comes from, through what treats each head by itself. */
function makersOf(graph: Graph, value: ValueName, rows: number, reader: Operation, name: string): CoupledRows[] {
  const maker = graph.operations.find(({ out }) => out === value);
  const others = readersOf(graph, value).filter((one) => one !== reader);
  if (!maker || others.length > 0) throw coupled(name, value, others[0]);
  switch (maker.op) {
    case 'linear':
      return [maker.weight, ...(maker.bias === undefined ? [] : [maker.bias])].map((weight) => ({
        name: weight,
        rows,
      }));
    case 'rotary':
      return makersOf(graph, maker.x, rows, maker, name);
    case 'rms-norm': {
      const width = graph.weights.find((weight) => weight.name === maker.weight)!.shape[0]!;
      // A norm over more than a head would change with what is left.
      if (rows % width !== 0) throw coupled(name, value, maker);
      return makersOf(graph, maker.x, rows, maker, name);
    }
    default:
      throw coupled(name, value, maker);
  }
}

const coupled = (name: string, value: ValueName, operation: Operation | undefined): ModelError =>
  new ModelError(
    `${name}: nothing can be removed from ${value}: ${operation ? `the operation ${operation.op}` : 'something else'} mixes it. Shrink the original model, before it is rotated.`,
  );
