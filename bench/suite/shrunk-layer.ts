import { formatByName } from '../../src/formats/registry.ts';
import type { Gpu } from '../../src/gpu/gpu.ts';
import type { BufferView } from '../../src/gpu/kernel.ts';
import { planBatch } from '../../src/graph/batch.ts';
import { Decoder } from '../../src/graph/decoder.ts';
import type { Graph } from '../../src/graph/graph.ts';
import { randomUniform } from '../../src/graph/reference/random.ts';
import { segmentGraph, segmentOf } from '../../src/graph/segments.ts';
import { stateWords } from '../../src/kernels/state.ts';
import { stackGraph } from '../../src/models/stack.ts';
import { median } from '../../src/verify/statistics.ts';
import { WeightMaker } from '../../src/verify/synthetic-weights.ts';
import { inPairs } from '../in-pairs.ts';
import { MODEL_SHAPES } from './model-shapes.ts';
import { pairedRatio, type Ratio } from './statistics.ts';

/** Positions that the token sees. */
const CONTEXT = 128;
/** Rows of a vocabulary that takes no time. */
const VOCABULARY = 32;

/** Time of what is left over that of the whole: of the FFN, and of a layer. */
export interface ShrunkTimes {
  readonly ffn: Ratio;
  readonly layer: Ratio;
  /** Median seconds of the whole. */
  readonly dense: { readonly ffn: number; readonly layer: number };
}

interface Timed {
  run(): Promise<number>;
  release(): void;
}

/**
 * What a token takes in a layer of 8B shapes with a share of its FFN channels, over all of them: linear matrices of synthetic weights in a format, the layer behind as many
 * tokens as `CONTEXT`. Pairs in alternating order.
 */
export async function measureShrunkLayer(gpu: Gpu, format: string, share: number, pairs: number): Promise<ShrunkTimes> {
  const shapes = MODEL_SHAPES['8B'];
  const maker = new WeightMaker(gpu);
  const opened: Timed[] = [];
  try {
    const graphs = [shapes.ffn, Math.round(shapes.ffn * share)].map((ffn) =>
      stackGraph({ ...shapes, ffn, layers: 1, vocabulary: VOCABULARY, maxPositions: CONTEXT + 1 }),
    );
    for (const graph of graphs) {
      const [from, to] = graph.layerRanges[0]!;
      const gate = graph.operations.findIndex(({ out }) => out.endsWith('.gate'));
      const weights = await maker.make(graph.weights, (role) => formatByName(role === 'linear' ? format : 'f32'));
      opened.push(await openPiece(gpu, graph, weights, gate, to), await openPiece(gpu, graph, weights, from, to));
    }
    const [ffn, layer, lessFfn, lessLayer] = opened as [Timed, Timed, Timed, Timed];
    // Compiled, and all memory touched.
    for (const one of opened) await one.run();
    const inTurns = (whole: Timed, less: Timed) =>
      inPairs(
        pairs,
        () => whole.run(),
        () => less.run(),
      );
    const [ffnTimes, layerTimes] = [await inTurns(ffn, lessFfn), await inTurns(layer, lessLayer)];
    return {
      ffn: pairedRatio(ffnTimes[1], ffnTimes[0]),
      layer: pairedRatio(layerTimes[1], layerTimes[0]),
      dense: { ffn: median(ffnTimes[0]), layer: median(layerTimes[0]) },
    };
  } finally {
    for (const one of opened) one.release();
    maker.release();
  }
}

/** Some operations of a graph for a token at the position `CONTEXT`, launched together where the decoder does. */
async function openPiece(
  gpu: Gpu,
  whole: Graph,
  weights: Awaited<ReturnType<WeightMaker['make']>>,
  from: number,
  to: number,
): Promise<Timed> {
  const segment = segmentOf(whole, from, to);
  const graph = segmentGraph(whole, segment);
  const decoder = new Decoder(gpu, graph, weights, { maxPositions: CONTEXT + 1 });
  const inputs = new Map<string, BufferView>();
  for (const name of segment.inputs) {
    const values = Float32Array.from({ length: graph.values[name]! }, (_, i) => 2 * randomUniform(1, i) - 1);
    const view = { buffer: gpu.memory.allocate(values.byteLength, name), size: values.byteLength };
    gpu.upload(view.buffer, new Uint8Array(values.buffer));
    inputs.set(name, view);
  }
  gpu.upload(decoder.buffers.state.buffer, new Uint8Array(stateWords(CONTEXT).buffer));
  const batch = planBatch(gpu, graph, decoder.buffers, 1, { inputs, keep: new Set(segment.outputs) });
  const recording = await gpu.scheduler.record(batch.steps, 'a piece of a layer');
  return {
    async run() {
      const start = performance.now();
      recording.submit();
      await gpu.idle();
      return (performance.now() - start) / 1000;
    },
    release() {
      recording.release();
      batch.release();
      decoder.release();
      for (const { buffer } of inputs.values()) gpu.memory.release(buffer);
    },
  };
}
