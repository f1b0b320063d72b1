import { ModelError } from '../errors.ts';
import type { Graph, Operation, ValueName, WeightName } from './graph.ts';
import { inputsOf } from './inputs.ts';

/**
 * Consecutive operations of a graph that run by themselves: given the values that they read, with their own weights on the GPU and no
 * others.
 */
export interface Segment {
  /** An embedding needs the rows of its tokens only, and the head can be taken a slice of rows at a time: both stand alone. */
  readonly kind: 'embedding' | 'block' | 'head';
  /** The decoder layer that it is, or is a piece of; null: it belongs to none. */
  readonly layer: number | null;
  /** First and one-past-last index into `operations`. */
  readonly from: number;
  readonly to: number;
  /** Values made before it that it reads. */
  readonly inputs: readonly ValueName[];
  /** Values made in it that are read behind it; of the head, the logits. */
  readonly outputs: readonly ValueName[];
  /** Values made before or in it that are read behind it. */
  readonly live: readonly ValueName[];
}

/** The weights that an operation reads: its matrix first, then its bias. */
export function weightsOfOperation(operation: Operation): WeightName[] {
  switch (operation.op) {
    case 'embedding':
    case 'rms-norm':
      return [operation.weight];
    case 'linear':
      return operation.bias === undefined ? [operation.weight] : [operation.weight, operation.bias];
    default:
      return [];
  }
}

/**
 * Cuts a graph into what precedes the layers, each layer, and what follows. A piece that does not fit is cut further between operations, each
 * time as late as it may be; a single operation stays whole, whether it fits or not.
 * @throws ModelError where the graph does not end with a matrix that makes the logits
 */
export function cutGraph(graph: Graph, fits: (segment: Segment) => boolean = () => true): Segment[] {
  const { operations } = graph;
  const last = operations.at(-1);
  if (last?.op !== 'linear' || last.out !== graph.logits) {
    throw new ModelError(
      'The graph does not end with the matrix that makes the logits, so it cannot be run in pieces.',
    );
  }
  const segments: Segment[] = [];
  for (const [from, to] of wholePieces(graph)) {
    for (let start = from; start < to; ) {
      let end = to;
      let segment = segmentOf(graph, start, end);
      while (end > start + 1 && !fits(segment)) segment = segmentOf(graph, start, --end);
      segments.push(segment);
      start = end;
    }
  }
  return segments;
}

/** Ranges of operations that are only cut where they do not fit: layers and what lies between them, embeddings and the head apart. */
function wholePieces({ operations, layerRanges }: Graph): [number, number][] {
  const bounds = new Set([0, operations.length - 1, operations.length, ...layerRanges.flat()]);
  for (const [index, { op }] of operations.entries()) {
    if (op === 'embedding') bounds.add(index).add(index + 1);
  }
  const sorted = [...bounds].sort((a, b) => a - b);
  return sorted.slice(1).map((to, i) => [sorted[i]!, to]);
}

/** The operations `from` … `to` − 1. */
export function segmentOf(graph: Graph, from: number, to: number): Segment {
  const { operations, logits, layerRanges } = graph;
  const made = (until: number, start = 0) => new Set(operations.slice(start, until).map(({ out }) => out));
  const read = (start: number, until?: number) => new Set(operations.slice(start, until).flatMap(inputsOf));
  const inside = made(to, from);
  const later = to === operations.length ? new Set([logits]) : read(to);
  const layer = layerRanges.findIndex(([first, end]) => from >= first && to <= end);
  const isHead = to === operations.length && from === to - 1;
  return {
    kind: isHead ? 'head' : operations[from]!.op === 'embedding' && to === from + 1 ? 'embedding' : 'block',
    layer: layer < 0 ? null : layer,
    from,
    to,
    inputs: [...read(from, to)].filter((name) => !inside.has(name)),
    outputs: [...inside].filter((name) => later.has(name)),
    live: [...made(to)].filter((name) => later.has(name)),
  };
}

/** A segment as a graph of its own, whose result counts as logits; layers keep their numbers. */
export function segmentGraph(graph: Graph, { from, to }: Pick<Segment, 'from' | 'to'>): Graph {
  const operations = graph.operations.slice(from, to);
  const needed = new Set(operations.flatMap(weightsOfOperation));
  return {
    ...graph,
    operations,
    weights: graph.weights.filter(({ name }) => needed.has(name)),
    logits: operations.at(-1)!.out,
    layerRanges: graph.layerRanges.map(([first, end]) => [first - from, end - from] as const),
  };
}

/** The head as a graph that makes the logits of `rows` tokens of the vocabulary only. */
export function headGraph(graph: Graph, rows: number): Graph {
  const last = graph.operations.length;
  const head = segmentGraph(graph, { from: last - 1, to: last });
  return { ...head, values: { ...head.values, [head.logits]: rows } };
}
