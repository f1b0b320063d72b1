// Models on the device in one form, and what their logits are held to.
import { openCheckpoint } from '../../src/files/checkpoint.ts';
import { type ModelFiles, memoryFolder } from '../../src/files/model-files.ts';
import { memoryOutput, memorySink } from '../../src/files/sink.ts';
import type { Format } from '../../src/formats/format.ts';
import { formatByName } from '../../src/formats/registry.ts';
import type { Gpu } from '../../src/gpu/gpu.ts';
import { Scratch } from '../../src/gpu/scratch.ts';
import { Decoder } from '../../src/graph/decoder.ts';
import type { Graph } from '../../src/graph/graph.ts';
import { ReferenceRun } from '../../src/graph/reference.ts';
import { dequantizeStep } from '../../src/kernels/quantize.ts';
import { allocateWeight, type Weight } from '../../src/kernels/weight.ts';
import { type StackShapes, stackGraph } from '../../src/models/stack.ts';
import { compress } from '../../src/passes/compress.ts';
import { dequantizedWeights, type LoadOptions, loadWeights } from '../../src/passes/load-weights.ts';
import { modelGraph } from '../../src/passes/model-graph.ts';
import { matrixShape } from '../../src/passes/stored-weight.ts';
import { fillWeight, WeightMaker } from '../../src/verify/synthetic-weights.ts';
import { releaseWeights } from '../../src/verify/with-decoder.ts';
import { readFloats } from './recorded.ts';
import type { SuiteContext } from './suite.ts';

/** A model on the device, in one form. */
export interface LoadedModel {
  readonly graph: Graph;
  readonly weights: ReadonlyMap<string, Weight>;
  /** Logits of each token of a text, [tokens, vocabulary]: what the same weights make of it elsewhere. */
  reference(tokens: Uint32Array): Promise<ArrayLike<number>>;
  release(): void;
}

/** Brings a model onto the device with its linear matrices in a format. */
export type LoadModel = (context: SuiteContext, format: string) => Promise<LoadedModel>;

const isDense = (format: string): format is 'f32' | 'f16' => format === 'f32' || format === 'f16';

/** The sample model, held to plain loops in f64. */
export const loadSample: LoadModel = async (context, format) => {
  const { gpu, signal } = context;
  const files = await context.openModel();
  const checkpoint = await openCheckpoint(isDense(format) ? files : await compressed(gpu, files, format, signal));
  try {
    const graph = modelGraph(checkpoint);
    // Embedding and head are the same in all forms, so that only the matrices differ.
    const options: LoadOptions = { embeddings: 'f16', ...(isDense(format) && { dense: format }) };
    const values = await dequantizedWeights(checkpoint, graph);
    const weights = await loadWeights(gpu, checkpoint, graph, options, signal);
    const rounded = (name: string) => (weights.get(name)!.format.activations ? {} : undefined);
    return {
      graph,
      weights,
      reference: async (tokens) => new ReferenceRun(graph, values, rounded).forward([...tokens]),
      release: () => releaseWeights(weights.values()),
    };
  } finally {
    await checkpoint.close();
  }
};

async function compressed(
  gpu: Gpu,
  files: ModelFiles,
  format: string,
  signal: AbortSignal | undefined,
): Promise<ModelFiles> {
  const output = memoryOutput();
  await compress(files, output, { gpu, format, ...(signal && { signal }) });
  return memoryFolder('compressed', Object.fromEntries(output.files));
}

/** The sample model in the same form as GGUF: embedding and head are f16 there as well, or what the mixture says. */
export async function sampleGguf({ gpu, signal, openModel }: SuiteContext, format: string): Promise<Uint8Array> {
  const sink = memorySink('model.gguf');
  await compress(await openModel(), sink, { gpu, format, ...(signal && { signal }) });
  return sink.bytes();
}

/**
 * A stack of layers with synthetic weights. Plain loops would take minutes: it is held to our own products in f32 with what the weights stand for, a token and an
 * operation at a time.
 */
export const loadStack =
  (shapes: Omit<StackShapes, 'layers'>, layersOf: (gpu: Gpu) => number): LoadModel =>
  async ({ gpu, signal }, format) => {
    const graph = stackGraph({ ...shapes, layers: layersOf(gpu) });
    const maker = new WeightMaker(gpu, signal);
    try {
      const formatOf = (role: string) =>
        formatByName(role === 'linear' ? format : role === 'embedding' ? 'f16' : 'f32');
      const weights = await maker.make(graph.weights, formatOf);
      return {
        graph,
        weights,
        reference: (tokens) => logitsInF32(gpu, graph, (role, k) => maker.block(formatOf(role), k), tokens),
        release: () => maker.release(),
      };
    } catch (error) {
      maker.release();
      throw error;
    }
  };

/** Logits of each token with weights that repeat blocks, all in f32. */
async function logitsInF32(
  gpu: Gpu,
  graph: Graph,
  blockOf: (role: string, k: number) => Promise<Weight>,
  tokens: Uint32Array,
): Promise<Float32Array> {
  const buffers = new Scratch(gpu);
  const made: Weight[] = [];
  const f32 = formatByName('f32');
  const allocate = (rows: number, k: number) => {
    const weight = allocateWeight(gpu, f32, rows, k, 'in f32');
    made.push(weight);
    return weight;
  };
  const expanded = new Map<Weight, Weight>();
  const expand = async (block: Weight): Promise<Weight> => {
    const known = expanded.get(block);
    if (known) return known;
    const { format, rows, k } = block;
    const dense = allocate(rows, k);
    const [from, to] = [block.parts[0]!.arrays, dense.parts[0]!.arrays[0]!];
    await gpu.scheduler.run([dequantizeStep({ format, from, target: f32, to, rows, k, bad: buffers.room(4, 'bad') })]);
    expanded.set(block, dense);
    return dense;
  };
  let decoder: Decoder | undefined;
  try {
    const weights = new Map<string, Weight>();
    for (const { name, shape, role } of graph.weights) {
      const { rows, k } = matrixShape(shape);
      const block = await expand(await blockOf(role, k));
      await gpu.guard('The same weights in f32', () => {
        const weight = allocate(rows, k);
        weights.set(name, weight);
        fillWeight(gpu, weight, block);
      });
    }
    decoder = new Decoder(gpu, graph, weights, { maxPositions: tokens.length, fuse: false });
    const all = new Float32Array(tokens.length * graph.vocabulary);
    for (const [i, token] of tokens.entries()) {
      const { logits } = await decoder.forward([token]);
      all.set(await readFloats(gpu, logits.buffer, graph.vocabulary), i * graph.vocabulary);
    }
    return all;
  } finally {
    decoder?.release();
    releaseWeights(made);
    buffers.release();
  }
}

/** The formats of a model's matrices, by name. */
export const formatsOf =
  ({ weights }: LoadedModel) =>
  (name: string): Format =>
    weights.get(name)!.format;
