import { checkCancelled } from '../files/cancel.ts';
import type { Checkpoint } from '../files/checkpoint.ts';
import type { Gpu } from '../gpu/gpu.ts';
import type { Graph } from '../graph/graph.ts';
import { SegmentRun } from '../graph/segment-run.ts';
import { type Segment, segmentGraph } from '../graph/segments.ts';
import type { Weight } from '../kernels/weight.ts';
import { batchWindows, indexesIn } from '../passes/embedding-batches.ts';
import { gatherRows, loadWeight } from '../passes/load-weights.ts';
import type { Notes } from './notes.ts';
import { type ControlMaker, makeControl } from './shuffle-control.ts';
import type { StreamState } from './stream-state.ts';
import type { Side } from './streams.ts';
import { releaseWeights } from './with-decoder.ts';

/** What every stage of a run through the blocks needs. */
export interface BlocksContext {
  readonly gpu: Gpu;
  /** Of each side; the control has the compressed model's. */
  readonly checkpoints: Readonly<Record<Side, Checkpoint>>;
  readonly control: ControlMaker;
  readonly notes: Notes;
  readonly signal?: AbortSignal;
  /** Says that a window went through a block. */
  readonly onRun: (what: string) => void;
}

export interface BlocksArguments {
  readonly graph: Graph;
  /** All but the head, in their order. */
  readonly segments: readonly Segment[];
  /** In the order in which they run. */
  readonly states: readonly StreamState[];
  /** Most rows of an embedding on the GPU at a time, where a window does not take more. */
  readonly embeddingRows: number;
}

/**
 * Takes streams through the blocks of a graph, a block at a time: its weights are on the GPU while every window of every stream runs through
 * it, once for each side; values wait on the host. A stream that fails and may be left out ends with a note; where a check finds values that
 * are not finite, all other streams end.
 * @throws FileError, CancelledError, OutOfMemoryError, DeviceLostError
 */
export async function runBlocks(context: BlocksContext, args: BlocksArguments): Promise<void> {
  const { graph, segments, states } = args;
  const forked = new Set<StreamState>();
  for (const segment of segments) {
    for (const state of states) {
      const { fork } = state.stream;
      if (!fork || fork.layer !== segment.layer || forked.has(state)) continue;
      forked.add(state);
      const parent = states.find(({ stream }) => stream === fork.of)!;
      if (parent.runs) state.fork(parent, graph.values);
    }
    for (const sides of [['original'], ['compressed', 'control']] as const) {
      const active = sides.map((side) =>
        states.filter((state) => state.runs && state.stream.side(segment.layer) === side),
      );
      if (active.flat().length === 0) continue;
      const run = segment.kind === 'embedding' ? runEmbedding : runBlock;
      await run(context, args, segment, context.checkpoints[sides[0]], active[0]!, active[1] ?? []);
    }
    if (states.some(({ check }) => check && check.nonFinite.length > 0)) {
      for (const state of states) if (!state.check) state.drop();
    }
  }
}

/** What a block is called, for progress. */
export const blockName = (graph: Graph, { layer, kind }: Segment): string => {
  if (layer !== null) return `layer ${layer + 1} of ${graph.layers}`;
  return kind === 'block' ? 'between layers and head' : kind;
};

async function runBlock(
  context: BlocksContext,
  { graph }: BlocksArguments,
  segment: Segment,
  checkpoint: Checkpoint,
  plain: readonly StreamState[],
  controls: readonly StreamState[],
): Promise<void> {
  const { gpu, notes, control, signal } = context;
  const weights = new Map<string, Weight>();
  const runs = new Runs(context, graph, segment, weights);
  try {
    for (const wanted of segmentGraph(graph, segment).weights) {
      checkCancelled(signal, 'The verification');
      weights.set(wanted.name, await loadWeight(gpu, checkpoint, wanted, {}, signal));
    }
    for (const state of plain) await runs.all(state);
    // Reading back takes memory too.
    runs.release();
    for (const state of controls) {
      await state.attempt(notes, () => makeControl(gpu, graph, weights, control));
      await runs.all(state);
    }
  } finally {
    runs.release();
    releaseWeights(weights.values());
  }
}

async function runEmbedding(
  context: BlocksContext,
  { graph, embeddingRows }: BlocksArguments,
  segment: Segment,
  checkpoint: Checkpoint,
  ...states: readonly (readonly StreamState[])[]
): Promise<void> {
  const { gpu, signal } = context;
  const [wanted] = segmentGraph(graph, segment).weights;
  const jobs = states
    .flat()
    .flatMap((state) => state.stream.windows.map((tokens, window) => ({ state, window, tokens })));
  for (const { rows, windows } of batchWindows(jobs, embeddingRows)) {
    checkCancelled(signal, 'The verification');
    const weight = await gatherRows(gpu, checkpoint, wanted!, rows, signal);
    const runs = new Runs(context, graph, segment, new Map([[wanted!.name, weight]]));
    try {
      for (const { state, window, tokens } of windows) await runs.one(state, window, indexesIn(rows, tokens));
    } finally {
      runs.release();
      weight.release();
    }
  }
}

/** Runs windows through a segment; streams with as many tokens share its place on the GPU. */
class Runs {
  readonly #context: BlocksContext;
  readonly #graph: Graph;
  readonly #segment: Segment;
  readonly #weights: ReadonlyMap<string, Weight>;
  #current: { readonly key: string; readonly run: SegmentRun } | undefined;

  constructor(context: BlocksContext, graph: Graph, segment: Segment, weights: ReadonlyMap<string, Weight>) {
    this.#context = context;
    this.#graph = graph;
    this.#segment = segment;
    this.#weights = weights;
  }

  async all(state: StreamState): Promise<void> {
    for (const window of state.stream.windows.keys()) await this.one(state, window);
  }

  async one(state: StreamState, window: number, ids?: Uint32Array): Promise<void> {
    const { notes, signal, onRun } = this.#context;
    if (!state.runs) return;
    await state.attempt(notes, async () => {
      checkCancelled(signal, 'The verification');
      const made = await this.#run(state).run(state.values(window), ids);
      await state.check?.block(this.#segment, made);
      state.advance(window, this.#segment, made);
    });
    onRun(blockName(this.#graph, this.#segment));
  }

  #run({ tokens, check }: StreamState): SegmentRun {
    const { gpu } = this.#context;
    const keepValues = check !== undefined;
    const key = `${tokens} ${keepValues}`;
    if (this.#current?.key === key) return this.#current.run;
    this.release();
    const graph = segmentGraph(this.#graph, this.#segment);
    const run = new SegmentRun(gpu, graph, this.#segment, this.#weights, tokens, { keepValues });
    this.#current = { key, run };
    return run;
  }

  release(): void {
    this.#current?.run.release();
    this.#current = undefined;
  }
}
