import type { Graph, Operation, ValueName, WeightName } from './graph.ts';
import { inputsOf } from './inputs.ts';
import { weightsOfOperation } from './segments.ts';

/**
 * Where factors of the channels of a value can be moved: the columns of the matrices that multiply the value take them, and what makes the value is
 * divided by them, so that the graph computes the same.
 */
export interface ScaleFolding {
  /** The value whose channels are scaled. */
  readonly input: ValueName;
  /** All that reads it: their columns are multiplied by the factors. */
  readonly matrices: readonly WeightName[];
  /**
   * What is divided: the weight of a norm, to which `offset` is added when it is applied, or rows of a matrix and its bias.
   */
  readonly into:
    | { readonly kind: 'norm'; readonly weight: WeightName; readonly offset: number }
    | { readonly kind: 'rows'; readonly weight: WeightName; readonly bias?: WeightName };
  /** Indexes of the operations between the two, which pass factors on. */
  readonly through: readonly number[];
  /** How many factors there are: elements of the norm's weight, or rows of the matrix. */
  readonly channels: number;
  /** The factor of each channel of the value: query heads that share a key head share theirs. */
  readonly channelOf: Uint32Array;
}

/**
 * Where factors of `input` can be moved; undefined where they can't: something else than matrices reads the value, or a value on the way has another reader;
 * an operation on the way does not pass factors on; or a weight that would change is used elsewhere, as a tied head is.
 */
export function findScaleFolding(graph: Graph, input: ValueName): ScaleFolding | undefined {
  const { operations } = graph;
  const uses = new Map<WeightName, number>();
  for (const name of operations.flatMap(weightsOfOperation)) uses.set(name, (uses.get(name) ?? 0) + 1);
  const usedOnce = (name: WeightName) => uses.get(name) === 1;
  const readersOf = (name: ValueName) => operations.filter((operation) => inputsOf(operation).includes(name));

  const readers = readersOf(input);
  if (readers.length === 0 || input === graph.logits) return undefined;
  const matrices: WeightName[] = [];
  for (const reader of readers) {
    if (reader.op !== 'linear' || !usedOnce(reader.weight)) return undefined;
    matrices.push(reader.weight);
  }

  const through: number[] = [];
  let value = input;
  let channelOf = Uint32Array.from({ length: graph.values[input]! }, (_, channel) => channel);
  for (;;) {
    const at = operations.findIndex(({ out }) => out === value);
    const operation = operations[at];
    if (!operation) return undefined;
    const channels = graph.values[value]!;
    const found = intoOf(graph, operation);
    if (found) {
      const changed = found.kind === 'rows' && found.bias !== undefined ? [found.weight, found.bias] : [found.weight];
      return changed.every(usedOnce) ? { input, matrices, into: found, through, channels, channelOf } : undefined;
    }
    const passed = passedOn(operation);
    if (!passed || readersOf(passed.value).length > 1) return undefined;
    through.push(at);
    const { source } = passed;
    channelOf = channelOf.map(source);
    value = passed.value;
  }
}

/** All there are, in the order in which the graph computes their inputs. */
export function findScaleFoldings(graph: Graph): ScaleFolding[] {
  return graph.operations.flatMap(({ out }) => findScaleFolding(graph, out) ?? []);
}

/** What divides the result of an operation by factors, where a weight of it does. */
function intoOf(graph: Graph, operation: Operation): ScaleFolding['into'] | undefined {
  if (operation.op === 'linear') {
    const { weight, bias, softCap } = operation;
    return softCap === undefined ? { kind: 'rows', weight, ...(bias !== undefined && { bias }) } : undefined;
  }
  if (operation.op !== 'rms-norm') return undefined;
  const { weight, offset = 0 } = operation;
  // Heads that are normalized by themselves share a weight: their channels have no factors of their own.
  const whole = graph.weights.find(({ name }) => name === weight)?.shape[0] === graph.values[operation.out];
  return whole ? { kind: 'norm', weight, offset } : undefined;
}

/** The one input of an operation whose factors its result has, and the channel there of each channel of the result. */
function passedOn(
  operation: Operation,
): { readonly value: ValueName; readonly source: (channel: number) => number } | undefined {
  switch (operation.op) {
    case 'silu-mul':
    case 'gelu-mul':
      return operation.gate === operation.up ? undefined : { value: operation.up, source: (channel) => channel };
    case 'attention': {
      const { q, k, v, heads, kvHeads, headDim } = operation;
      if (v === q || v === k) return undefined;
      const shared = heads / kvHeads;
      return { value: v, source: (channel) => Math.floor(channel / headDim / shared) * headDim + (channel % headDim) };
    }
    default:
      return undefined;
  }
}

/**
 * Moves factors: what the weights become that change, row-major as they were. The graph then computes the same, but for rounding.
 * @param factors [folding.channels], positive and finite
 * @param weights gives a weight's numbers as they are now
 */
export function foldScales(
  { matrices, into, channelOf }: ScaleFolding,
  factors: Float32Array,
  weights: (name: WeightName) => Float32Array,
): Map<WeightName, Float32Array> {
  const folded = new Map<WeightName, Float32Array>();
  const k = channelOf.length;
  for (const name of matrices) {
    folded.set(
      name,
      weights(name).map((w, i) => w * factors[channelOf[i % k]!]!),
    );
  }
  const before = weights(into.weight);
  if (into.kind === 'norm') {
    const { offset } = into;
    folded.set(
      into.weight,
      before.map((w, i) => (w + offset) / factors[i]! - offset),
    );
    return folded;
  }
  const columns = before.length / factors.length;
  folded.set(
    into.weight,
    before.map((w, i) => w / factors[Math.floor(i / columns)]!),
  );
  if (into.bias !== undefined) {
    folded.set(
      into.bias,
      weights(into.bias).map((b, i) => b / factors[i]!),
    );
  }
  return folded;
}
