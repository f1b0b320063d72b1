import { checkCancelled } from '../files/cancel.ts';
import type { Gpu } from '../gpu/gpu.ts';
import type { Graph } from '../graph/graph.ts';
import { inputsOf } from '../graph/inputs.ts';
import { SegmentRun } from '../graph/segment-run.ts';
import { headGraph } from '../graph/segments.ts';
import type { Weight } from '../kernels/weight.ts';
import { loadWeight, type RowRange } from '../passes/load-weights.ts';
import { targetsOf } from '../passes/windows.ts';
import type { Recording } from '../scheduler/scheduler.ts';
import { joinSlices, scoreOf, type TokenScore } from './combine-scores.ts';
import { compareLogitsStep, readSliceScores, SCORE_FIELDS, type SliceScore } from './compare-logits.ts';
import type { BlocksContext } from './run-blocks.ts';
import type { StreamState } from './stream-state.ts';
import type { HostValues } from './streams.ts';
import { releaseWeights } from './with-decoder.ts';

/** Two streams whose logits are compared; the same twice to score one. */
export interface ScoreJob {
  readonly a: StreamState;
  readonly b: StreamState;
}

/**
 * Makes the logits of all streams and scores them, a slice of the vocabulary at a time: rows of all heads in use are on the GPU together, and
 * the logits stay there. Gives a list a window for each job, one entry for each of its tokens but the first; jobs that failed and may be left
 * out have none.
 * @throws FileError, CancelledError, OutOfMemoryError, DeviceLostError
 */
export async function scoreHeads(
  context: BlocksContext,
  jobs: readonly ScoreJob[],
  checked: StreamState | undefined,
  slices: readonly RowRange[],
): Promise<Map<ScoreJob, TokenScore[][]>> {
  const { signal, notes, onRun } = context;
  const totals = new Map(jobs.map((job) => [job, [] as SliceScore[][]]));
  const all = [...jobs.flatMap(({ a, b }) => [a, b]), ...(checked ? [checked] : [])];
  for (const [index, slice] of slices.entries()) {
    const what = slices.length === 1 ? 'head' : `head, slice ${index + 1} of ${slices.length}`;
    const heads = new Heads(context, slice);
    try {
      for (const state of all) if (state.runs) await heads.load(state);
      if (checked?.runs) {
        await checked.attempt(notes, () => checkSlice(context.gpu, heads, checked, slice));
        onRun(what);
      }
      // A key of what may share a place on the GPU.
      let pair: { readonly key: string; readonly run: PairRun } | undefined;
      try {
        for (const job of jobs) {
          const { a, b } = job;
          if (!a.runs || !b.runs) continue;
          const key = [a.tokens, heads.key(a), heads.key(b), a === b].join();
          if (pair?.key !== key) {
            pair?.run.release();
            pair = undefined;
          }
          await b.attempt(notes, async () => {
            pair ??= { key, run: new PairRun(context.gpu, heads, job, slice) };
            for (const window of a.stream.windows.keys()) {
              checkCancelled(signal, 'The verification');
              const scores = await pair.run.score(
                a.values(window),
                b.values(window),
                targetsOf(a.stream.windows[window]!),
              );
              const sum = totals.get(job)!;
              sum[window] = sum[window]?.map((before, token) => joinSlices(before, scores[token]!)) ?? scores;
              onRun(what);
            }
          });
        }
      } finally {
        pair?.run.release();
      }
    } finally {
      heads.release();
    }
  }
  return new Map(
    [...totals]
      .filter(([{ a, b }]) => a.runs && b.runs)
      .map(([job, windows]) => [job, windows.map((window) => window.map(scoreOf))]),
  );
}

/** Rows of the heads of all streams for a slice of the vocabulary; those that several take are loaded once. */
class Heads {
  readonly #context: BlocksContext;
  readonly #slice: RowRange;
  readonly #loaded = new Map<string, Weight>();

  constructor(context: BlocksContext, slice: RowRange) {
    this.#context = context;
    this.#slice = slice;
  }

  graph({ stream: { graph } }: StreamState): Graph {
    return headGraph(graph, this.#slice.count);
  }

  /** The same for streams whose heads are the same. */
  key(state: StreamState): string {
    return `${this.#side(state)} ${JSON.stringify(state.stream.graph.operations.at(-1))}`;
  }

  weights(state: StreamState): Map<string, Weight> {
    return new Map(this.graph(state).weights.map(({ name }) => [name, this.#loaded.get(this.#name(state, name))!]));
  }

  async load(state: StreamState): Promise<void> {
    const { gpu, checkpoints, signal } = this.#context;
    for (const wanted of this.graph(state).weights) {
      const name = this.#name(state, wanted.name);
      if (this.#loaded.has(name)) continue;
      const options = { rows: this.#slice };
      this.#loaded.set(name, await loadWeight(gpu, checkpoints[this.#side(state)], wanted, options, signal));
    }
  }

  release(): void {
    releaseWeights(this.#loaded.values());
  }

  /** No control changes a head. */
  #side({ stream }: StreamState): 'original' | 'compressed' {
    return stream.side(null) === 'original' ? 'original' : 'compressed';
  }

  #name(state: StreamState, name: string): string {
    return `${this.#side(state)} ${name}`;
  }
}

const inputOf = (graph: Graph): string => inputsOf(graph.operations.at(-1)!)[0]!;

async function checkSlice(gpu: Gpu, heads: Heads, state: StreamState, slice: RowRange): Promise<void> {
  const graph = heads.graph(state);
  const ends = { inputs: [inputOf(graph)], outputs: [graph.logits] };
  const run = new SegmentRun(gpu, graph, ends, heads.weights(state), state.tokens);
  try {
    await state.check!.head(slice, (await run.run(state.values(0))).get(graph.logits)!);
  } finally {
    run.release();
  }
}

/** Two heads and the comparison of their logits, for windows of one length. */
class PairRun {
  readonly #gpu: Gpu;
  readonly #slice: RowRange;
  readonly #tokens: number;
  readonly #runs: SegmentRun[] = [];
  readonly #buffers: GPUBuffer[] = [];
  #recording: Recording | undefined;

  constructor(gpu: Gpu, heads: Heads, { a, b }: ScoreJob, slice: RowRange) {
    this.#gpu = gpu;
    this.#slice = slice;
    this.#tokens = a.tokens - 1;
    try {
      for (const state of a === b ? [a] : [a, b]) {
        const graph = heads.graph(state);
        const ends = { inputs: [inputOf(graph)], outputs: [graph.logits] };
        this.#runs.push(new SegmentRun(gpu, graph, ends, heads.weights(state), state.tokens));
      }
      for (const words of [1, SCORE_FIELDS])
        this.#buffers.push(gpu.memory.allocate(words * this.#tokens * 4, 'scores'));
    } catch (error) {
      this.release();
      throw error;
    }
  }

  async score(a: HostValues, b: HostValues, next: Uint32Array<ArrayBuffer>): Promise<SliceScore[]> {
    const [targets, scores] = this.#buffers as [GPUBuffer, GPUBuffer];
    const [first, second = first] = this.#runs as [SegmentRun, SegmentRun?];
    const range = { start: this.#slice.start, size: this.#slice.count };
    this.#recording ??= await this.#gpu.scheduler.record([
      ...this.#runs.flatMap(({ steps }) => steps),
      compareLogitsStep({
        original: first.result,
        compressed: second.result,
        targets: { buffer: targets },
        scores: { buffer: scores },
        tokens: this.#tokens,
        ...range,
      }),
    ]);
    first.upload(a);
    if (second !== first) second.upload(b);
    this.#gpu.upload(targets, new Uint8Array(next.buffer));
    this.#recording.submit();
    return readSliceScores(await this.#gpu.readBack(scores, 0, this.#tokens * SCORE_FIELDS * 4), next, range);
  }

  release(): void {
    this.#recording?.release();
    for (const run of this.#runs) run.release();
    for (const buffer of this.#buffers) this.#gpu.memory.release(buffer);
  }
}
