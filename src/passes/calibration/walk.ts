import { ModelError } from '../../errors.ts';
import { checkCancelled } from '../../files/cancel.ts';
import type { Gpu } from '../../gpu/gpu.ts';
import type { BufferView, Step } from '../../gpu/kernel.ts';
import type { Graph, GraphWeight, ValueName, WeightName } from '../../graph/graph.ts';
import { SegmentRun, type SegmentRunOptions } from '../../graph/segment-run.ts';
import { type Segment, segmentGraph, segmentOf } from '../../graph/segments.ts';
import { exactOnly, needsOf, type VariantChoice } from '../../graph/variant-choice.ts';
import type { Weight } from '../../kernels/weight.ts';
import { batchWindows, indexesIn } from '../embedding-batches.ts';
import { type InputGroup, inputGroups } from './input-groups.ts';
import { InputStatistics } from './input-statistics.ts';

/** Where the weights of a walk come from; each result is the walk's to release. */
export interface WeightSource {
  load(weight: GraphWeight): Promise<Weight>;
  /** Some rows of an embedding, ascending, as a matrix of those rows. */
  gather(weight: GraphWeight, rows: Uint32Array): Promise<Weight>;
}

export interface WalkArguments {
  readonly gpu: Gpu;
  readonly graph: Graph;
  readonly source: WeightSource;
  /** Tokens of each window, all of one length. */
  readonly windows: readonly Uint32Array[];
  /** Whether the input of a group is of interest. */
  readonly wanted: (group: InputGroup) => boolean;
  /** Leave H out: only statistics of columns. */
  readonly columnsOnly?: boolean;
  /** Take the windows through the original model as well, once a weight was replaced, so that statistics tell how its inputs differ. */
  readonly originals?: boolean;
  /**
   * Called once for each group of interest, in the order of the graph, with what all windows were like there. What it returns takes the place of
   * those weights in the rest of the walk, which releases it.
   */
  readonly visit: (group: InputGroup, statistics: InputStatistics) => Promise<ReadonlyMap<WeightName, Weight>>;
  /** Chooses among variants that give the same bits. */
  readonly tuner?: VariantChoice | undefined;
  readonly signal?: AbortSignal;
  /** Called as each window has gone through a piece of the graph. */
  readonly onWindow?: (done: number, total: number) => void;
}

/** What running a piece of the graph takes. */
type RunArguments = Pick<WalkArguments, 'gpu' | 'graph' | 'source' | 'windows' | 'tuner' | 'signal'>;

const WHAT = 'The calibration';

/** Rows of an embedding on the GPU at a time, where a window does not take more. */
export const EMBEDDING_ROWS = 8192;

/**
 * Takes windows of tokens through a graph, from one input of matrices to the next: one piece of the graph and the statistics of one input are on
 * the GPU, values wait on the host. Ends at the last group of interest.
 * @throws ModelError for a graph whose matrices take an embedding as it is; FileError, CancelledError, OutOfMemoryError, DeviceLostError
 */
export async function walkInputs(args: WalkArguments): Promise<void> {
  const { graph, windows, wanted, signal } = args;
  const groups = inputGroups(graph).filter(wanted);
  const cuts = cutsOf(graph, groups);
  const total = windows.length * cuts.length;
  let done = 0;
  const count = () => args.onWindow?.(++done, total);
  let values: Streams = { now: windows.map(() => new Map()) };
  let replaced: ReadonlyMap<WeightName, Weight> = new Map();
  try {
    for (const { segment, group } of cuts) {
      checkCancelled(signal, WHAT);
      const statistics =
        group &&
        new InputStatistics(args.gpu, group.k, windows.length * windows[0]!.length, { hessian: !args.columnsOnly });
      try {
        const run = segment.kind === 'embedding' ? runEmbedding : runPiece;
        // Up to the first weight that is replaced both models are the same.
        if (args.originals && replaced.size > 0) values = { original: values.now, ...values };
        values = await run(args, segment, values, replaced, statistics && { group, statistics }, count);
        release(replaced);
        replaced = new Map();
        if (group) replaced = await args.visit(group, statistics!);
      } finally {
        statistics?.release();
      }
    }
  } finally {
    release(replaced);
  }
}

const release = (weights: ReadonlyMap<WeightName, Weight>): void => {
  for (const weight of weights.values()) weight.release();
};

/** Pieces of the graph, each with the group whose input it ends before. */
export function cutsOf(
  graph: Graph,
  groups: readonly InputGroup[],
): { readonly segment: Segment; readonly group?: InputGroup }[] {
  const cuts: { segment: Segment; group?: InputGroup }[] = [];
  let from = 0;
  const cut = (to: number, group?: InputGroup) => {
    if (to > from) cuts.push({ segment: segmentOf(graph, from, to), ...(group && { group }) });
    else if (group) throw new ModelError(`Nothing computes ${group.input} before the matrices that multiply it.`);
    from = to;
  };
  const end = groups.at(-1)?.at ?? 0;
  for (const [index, { op }] of graph.operations.slice(0, end).entries()) {
    const group = groups.find(({ at }) => at === index);
    if (group) cut(index, group);
    // An embedding stands alone: only rows of its tokens are loaded.
    if (op !== 'embedding') continue;
    cut(index);
    cut(index + 1);
  }
  if (groups.length > 0) cut(end, groups.at(-1));
  return cuts;
}

interface Gathering {
  readonly group: InputGroup;
  readonly statistics: InputStatistics;
}

/** Of each window. */
export type Values = readonly ReadonlyMap<ValueName, Float32Array>[];

/** What windows are like in the model as it is now, and in the original one, where that is another. */
interface Streams {
  readonly now: Values;
  readonly original?: Values;
}

/** Takes windows through a piece of a graph, an embedding or what lies behind: what each has there. `count` is called as each is through. */
export async function runSegment(
  args: RunArguments,
  segment: Segment,
  values: Values,
  count: () => void = () => {},
): Promise<Values> {
  const run = segment.kind === 'embedding' ? runEmbedding : runPiece;
  return (await run(args, segment, { now: values }, new Map(), undefined, count)).now;
}

async function runPiece(
  { gpu, graph, source, windows, tuner, signal }: RunArguments,
  segment: Segment,
  values: Streams,
  replaced: ReadonlyMap<WeightName, Weight>,
  gathering: Gathering | undefined,
  count: () => void,
): Promise<Streams> {
  const piece = segmentGraph(graph, segment);
  const loaded = new Map<WeightName, Weight>();
  const runs: SegmentRun[] = [];
  try {
    for (const weight of piece.weights) {
      checkCancelled(signal, WHAT);
      if (values.original || !replaced.has(weight.name)) loaded.set(weight.name, await source.load(weight));
    }
    const tokens = windows[0]!.length;
    const exact = tuner && exactOnly(tuner);
    await exact?.prepare(
      needsOf(piece, new Map([...loaded, ...replaced]), { tokens, positions: tokens, cache: 'f32' }),
    );
    const made = (weights: ReadonlyMap<WeightName, Weight>, options?: SegmentRunOptions): SegmentRun => {
      const run = new SegmentRun(gpu, piece, segment, weights, tokens, { ...options, tuner: exact });
      runs.push(run);
      return run;
    };
    const original = values.original && made(loaded);
    const behind = (view: (value: ValueName) => BufferView): readonly Step[] => {
      const { group, statistics } = gathering!;
      return statistics.steps(view(group.input), tokens, original?.view(group.input));
    };
    const now = made(new Map([...loaded, ...replaced]), gathering && { behind });
    const results: { now: Values[number][]; original: Values[number][] } = { now: [], original: [] };
    for (const [window, before] of values.now.entries()) {
      checkCancelled(signal, WHAT);
      if (original) {
        const first = values.original![window]!;
        results.original.push(advance(segment, first, await original.run(first)));
      }
      results.now.push(advance(segment, before, await now.run(before)));
      count();
    }
    return original ? results : { now: results.now };
  } finally {
    for (const run of runs) run.release();
    release(loaded);
  }
}

async function runEmbedding(
  { gpu, graph, source, windows, signal }: RunArguments,
  segment: Segment,
  values: Streams,
  _replaced: ReadonlyMap<WeightName, Weight>,
  _gathering: Gathering | undefined,
  count: () => void,
): Promise<Streams> {
  const piece = segmentGraph(graph, segment);
  const weight = piece.weights[0]!;
  // Ids are the same in both models.
  const streams = [values.now, ...(values.original ? [values.original] : [])].map((stream) => [...stream]);
  const jobs = windows.map((tokens, window) => ({ tokens, window }));
  for (const batch of batchWindows(jobs, EMBEDDING_ROWS)) {
    checkCancelled(signal, WHAT);
    const rows = await source.gather(weight, batch.rows);
    let run: SegmentRun | undefined;
    try {
      run = new SegmentRun(gpu, piece, segment, new Map([[weight.name, rows]]), windows[0]!.length);
      for (const { tokens, window } of batch.windows) {
        for (const stream of streams) {
          const made = await run.run(stream[window]!, indexesIn(batch.rows, tokens));
          stream[window] = advance(segment, stream[window]!, made);
        }
        count();
      }
    } finally {
      run?.release();
      rows.release();
    }
  }
  const [now, original] = streams;
  return { now: now!, ...(original && { original }) };
}

/** What a window has behind a piece, without what nobody reads any more. */
const advance = (
  { live }: Segment,
  before: ReadonlyMap<ValueName, Float32Array>,
  made: ReadonlyMap<ValueName, Float32Array>,
): ReadonlyMap<ValueName, Float32Array> => new Map([...before, ...made].filter(([name]) => live.includes(name)));
