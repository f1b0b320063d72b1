import type { Checkpoint } from '../files/checkpoint.ts';
import { arrayBytes, contentBytes } from '../formats/layout.ts';
import { poolSize } from '../gpu/buffer-pool.ts';
import type { Graph, GraphWeight } from '../graph/graph.ts';
import { inputsOf } from '../graph/inputs.ts';
import { cutGraph, headGraph, type Segment, segmentGraph } from '../graph/segments.ts';
import { READ_BACK_BYTES } from '../kernels/weight.ts';
import { gpuFormat, type RowRange } from '../passes/load-weights.ts';
import { findWeight, matrixShape, type StoredWeight } from '../passes/stored-weight.ts';
import { SCORE_FIELDS } from './compare-logits.ts';
import { integerWeights, loadedBytes, type RunBytes, runBytes, totalOf, UNIFORM_BYTES } from './run-bytes.ts';
import { passesOf, type Side, type Stream, type Streams } from './streams.ts';

/** What the device allows, in bytes. */
export interface GpuLimits {
  /** In use at a time. */
  readonly budget: number;
  /** Of one buffer as a kernel sees it. */
  readonly binding: number;
}

export const NO_LIMITS: GpuLimits = { budget: Number.POSITIVE_INFINITY, binding: Number.POSITIVE_INFINITY };

export interface PassPlan {
  readonly graph: Graph;
  readonly streams: readonly Stream[];
  /** All but the head. */
  readonly segments: readonly Segment[];
  /** Most rows of an embedding on the GPU at a time, where a window does not take more. */
  readonly embeddingRows: number;
}

/** What takes most on the GPU at some time. */
export interface Peak {
  readonly bytes: number;
  readonly weights: number;
  readonly run: RunBytes;
  /** The largest of the weights. */
  readonly weight: { readonly name: string; readonly bytes: number } | undefined;
}

/** How streams run through the blocks of a model within limits, and what that takes. */
export interface BlockPlan {
  readonly streams: Streams;
  readonly passes: readonly PassPlan[];
  /** Slices of the vocabulary whose logits are made together. */
  readonly slices: readonly RowRange[];
  readonly peak: Peak;
  /** What runs take at most, in which segment ever. */
  readonly runs: RunBytes;
  /** Values that wait on the host, in bytes. */
  readonly hostBytes: number;
}

/** Most bytes of one model's logits at a time: what WebGPU binds everywhere. */
const LOGITS_BYTES = 128 * 1024 * 1024;

/** Most bytes of rows of an embedding on the GPU at a time: the tokens of a few dozen windows. */
const EMBEDDING_BYTES = 16 * 1024 * 1024;

/** Slices start at whole words in every format. */
const SLICE_ROWS = 8;

/**
 * Cuts the passes of the streams into segments and the head into slices that fit.
 * @throws ModelError, FileError
 */
export function planBlocks(
  checkpoints: Readonly<Record<'original' | 'compressed', Checkpoint>>,
  streams: Streams,
  limits: GpuLimits,
): BlockPlan {
  const peaks: Peak[] = [];
  const passes = passesOf(streams).map(({ graph, streams: ones }): PassPlan => {
    const segmentPeak = (segment: Segment) => peakOf(checkpoints, graph, ones, segment, limits);
    const segments = cutGraph(graph, (segment) => segmentPeak(segment).bytes <= limits.budget).slice(0, -1);
    peaks.push(...segments.map(segmentPeak));
    return { graph, streams: ones, segments, embeddingRows: embeddingRows(checkpoints, graph, ones, limits) };
  });
  const vocabulary = streams.original.graph.vocabulary;
  const head = (rows: number) => headPeak(checkpoints, streams, rows, limits);
  const count = Math.ceil(vocabulary / sliceRows(streams, limits, (rows) => head(rows).bytes));
  const rows = Math.ceil(vocabulary / count / SLICE_ROWS) * SLICE_ROWS;
  const slices: RowRange[] = [];
  for (let start = 0; start < vocabulary; start += rows) {
    slices.push({ start, count: Math.min(rows, vocabulary - start) });
  }
  peaks.push(head(Math.min(rows, vocabulary)));
  const most = (of: (run: RunBytes) => number) => Math.max(...peaks.map(({ run }) => of(run)));
  return {
    streams,
    passes,
    slices,
    peak: largest(peaks)!,
    runs: { caches: most((r) => r.caches), activations: most((r) => r.activations), largest: most((r) => r.largest) },
    hostBytes: Math.max(...passes.map(hostBytes)),
  };
}

const sidesOf = (streams: readonly Stream[], layer: number | null): Set<Side> =>
  new Set(streams.map(({ side }) => side(layer)));

type Checkpoints = Parameters<typeof planBlocks>[0];

const checkpointOf = (checkpoints: Checkpoints, side: Side): Checkpoint =>
  checkpoints[side === 'original' ? 'original' : 'compressed'];

function embeddingRows(
  checkpoints: Checkpoints,
  graph: Graph,
  streams: readonly Stream[],
  { budget }: GpuLimits,
): number {
  const bytes = graph.operations.flatMap((operation) => {
    if (operation.op !== 'embedding') return [];
    const [wanted] = graph.weights.filter(({ name }) => name === operation.weight);
    return [...sidesOf(streams, null)].map((side) => {
      const stored = findWeight(checkpointOf(checkpoints, side), operation.weight);
      const { k } = matrixShape(stored.shape);
      return gpuFormat(stored, wanted!.role, { rows: 1 }).arrays.reduce(
        (sum, array) => sum + contentBytes(array, 1, k),
        0,
      );
    });
  });
  return Math.max(1, Math.floor(Math.min(EMBEDDING_BYTES, budget / 8) / Math.max(1, ...bytes)));
}

/** Distinct tokens of all windows together, and of the window that has most, at most. */
function rowsOnGpu(streams: readonly Stream[], most: number): number {
  const all = new Set<number>();
  let window = 0;
  for (const tokens of streams.flatMap(({ windows }) => windows)) {
    for (const token of tokens) all.add(token);
    window = Math.max(window, tokens.length);
  }
  return Math.min(all.size, Math.max(most, window));
}

/** The most that a segment takes, of all sides and streams that run through it. */
function peakOf(
  checkpoints: Checkpoints,
  graph: Graph,
  streams: readonly Stream[],
  segment: Segment,
  limits: GpuLimits,
): Peak {
  const own = segmentGraph(graph, segment);
  const { inputs, outputs, layer } = segment;
  const rows =
    segment.kind === 'embedding' ? rowsOnGpu(streams, embeddingRows(checkpoints, graph, streams, limits)) : undefined;
  const peaks: Peak[] = [];
  for (const side of sidesOf(streams, layer)) {
    const loaded = own.weights.map(({ name, role }) => {
      const stored = findWeight(checkpointOf(checkpoints, side), name);
      const bytes = loadedBytes(stored, { role, binding: limits.binding, ...(rows !== undefined && { rows }) });
      return { name, bytes, changed: side === 'control' && role === 'linear' ? largestArray(stored, role) : 0 };
    });
    const weights = loaded.reduce((sum, { bytes }) => sum + bytes, 0);
    const weight = largest(loaded);
    const staging = Math.min(READ_BACK_BYTES, Math.max(0, ...loaded.map(({ changed }) => changed)));
    if (staging > 0) peaks.push({ bytes: weights + poolSize(staging), weights, run: NO_RUN, weight });
    for (const { windows, checked } of streams.filter((stream) => stream.side(layer) === side)) {
      const tokens = windows[0]!.length;
      const keepValues = checked === true;
      const integer = integerWeights(checkpointOf(checkpoints, side));
      const run = runBytes(own, { tokens, keepValues, inputs, keep: outputs, integer });
      // As `SegmentRun` reads them: the values of a piece one by one, what it gives on together.
      const reads = keepValues ? own.operations.map(({ out }) => [out]) : [outputs];
      const sizeOf = (names: readonly string[]) =>
        names.reduce((sum, name) => sum + graph.values[name]! * tokens * 4, 0);
      const back = Math.max(0, ...reads.map((names) => poolSize(sizeOf(names))));
      peaks.push({ bytes: weights + totalOf(run) + back, weights, run, weight });
    }
  }
  return largest(peaks)!;
}

/** The most that a slice of the head takes. */
function headPeak(checkpoints: Checkpoints, streams: Streams, rows: number, { binding }: GpuLimits): Peak {
  const all = passesOf(streams).flatMap((pass) => pass.streams);
  const loaded = new Map<string, { readonly name: string; readonly bytes: number }>();
  for (const { graph, side } of all) {
    const from = side(null) === 'original' ? 'original' : 'compressed';
    for (const { name, role } of headGraph(graph, rows).weights) {
      const stored = findWeight(checkpoints[from], name);
      loaded.set(`${from} ${name}`, { name, bytes: loadedBytes(stored, { role, rows, binding }) });
    }
  }
  const run = ({ graph, windows, side }: Stream): RunBytes => {
    const own = headGraph(graph, rows);
    const integer = integerWeights(checkpointOf(checkpoints, side(null)));
    const inputs = inputsOf(own.operations[0]!);
    return runBytes(own, { tokens: windows[0]!.length, inputs, keep: [own.logits], integer });
  };
  const { original, compressed, kernels } = streams;
  const runs = [original, ...(compressed ? [compressed] : [])].map(run);
  const words = original.windows[0]!.length * 4;
  const scores = poolSize(words) + 2 * poolSize(SCORE_FIELDS * words) + UNIFORM_BYTES;
  const check = kernels ? totalOf(run(kernels)) + poolSize(rows * kernels.windows[0]!.length * 4) : 0;
  const weights = [...loaded.values()].reduce((sum, { bytes }) => sum + bytes, 0);
  return {
    bytes:
      weights +
      Math.max(
        runs.reduce((sum, one) => sum + totalOf(one), scores),
        check,
      ),
    weights,
    run: runs.reduce((a, b) => (totalOf(b) > totalOf(a) ? b : a)),
    weight: largest([...loaded.values()]),
  };
}

/** The most rows, in whole steps, that fit; one step where none does. */
function sliceRows({ original }: Streams, limits: GpuLimits, bytes: (rows: number) => number): number {
  const { vocabulary } = original.graph;
  const tokens = original.windows[0]!.length;
  const most = Math.min(vocabulary, Math.floor(Math.min(LOGITS_BYTES, limits.binding) / (4 * tokens)));
  if (most === vocabulary && bytes(vocabulary) <= limits.budget) return vocabulary;
  let [fits, above] = [1, Math.floor(most / SLICE_ROWS) + 1];
  while (above - fits > 1) {
    const middle = Math.floor((fits + above) / 2);
    if (bytes(middle * SLICE_ROWS) <= limits.budget) fits = middle;
    else above = middle;
  }
  return fits * SLICE_ROWS;
}

/** Values of all windows that wait on the host at a time. */
function hostBytes({ graph, streams, segments }: PassPlan): number {
  const tokens = streams.reduce((sum, { windows }) => sum + windows.length * windows[0]!.length, 0);
  const widths = segments.map(({ inputs, live }) =>
    [...new Set([...inputs, ...live])].reduce((sum, name) => sum + graph.values[name]!, 0),
  );
  return 4 * tokens * Math.max(...widths);
}

const NO_RUN: RunBytes = { caches: 0, activations: 0, largest: 0 };

const largestArray = (stored: StoredWeight, role: GraphWeight['role']): number => {
  const { rows, k } = matrixShape(stored.shape);
  return Math.max(...gpuFormat(stored, role).arrays.map((array) => arrayBytes(array, rows, k)));
};

const largest = <T extends { readonly bytes: number }>(all: readonly T[]): T | undefined =>
  all.reduce<T | undefined>((a, b) => (a && a.bytes >= b.bytes ? a : b), undefined);
