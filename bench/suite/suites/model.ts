import { openCheckpoint } from '../../../src/files/checkpoint.ts';
import { type ModelFiles, memoryFolder } from '../../../src/files/model-files.ts';
import { memoryOutput } from '../../../src/files/sink.ts';
import { formatBytes } from '../../../src/formats/layout.ts';
import { formatByName } from '../../../src/formats/registry.ts';
import type { Gpu } from '../../../src/gpu/gpu.ts';
import { Decoder } from '../../../src/graph/decoder.ts';
import { generate } from '../../../src/graph/generate.ts';
import type { Graph } from '../../../src/graph/graph.ts';
import { ReferenceRun } from '../../../src/graph/reference.ts';
import type { Weight } from '../../../src/kernels/weight.ts';
import { stackGraph } from '../../../src/models/stack.ts';
import { compress } from '../../../src/passes/compress.ts';
import { dequantizedWeights, type LoadOptions, loadWeights } from '../../../src/passes/load-weights.ts';
import { modelGraph } from '../../../src/passes/model-graph.ts';
import { matrixShape } from '../../../src/passes/stored-weight.ts';
import { KERNEL_ERROR_MOST } from '../../../src/verify/checks.ts';
import { WeightMaker } from '../../../src/verify/synthetic-weights.ts';
import { releaseWeights } from '../../../src/verify/with-decoder.ts';
import type { Contestant, ModelWork, Prepared } from '../contestant.ts';
import { MODEL_SHAPES } from '../model-shapes.ts';
import { readFloats } from '../recorded.ts';
import type { Case, OpenCase, Suite, SuiteContext } from '../suite.ts';

/** The sample model, as peers find it. */
export const SAMPLE = 'union-7m';
const FORMATS = ['f32', 'q8_0', 'q4_0', 'q4_k', 'int4-g64-asym', 'w8a8'];
const STACK_FORMATS = ['q8_0', 'q4_0', 'q4_k'];
const PROMPT_TOKENS = 128;
const DECODED_TOKENS = 32;
/** On a CPU a layer of these shapes takes as long as a small model. */
const FEW = { prefill: 8, decode: 4 } as const;
/** Layers of a stack: more than a cache holds of 1B shapes on a GPU. */
const LAYERS = { software: 1, gpu: 4 } as const;
const STACK_VOCABULARY = 4096;
/** Tokens whose logits are held to the f64 reference. */
const CHECKED_TOKENS = 8;

const DENSE = 'dense f32';

const isDense = (format: string): format is 'f32' | 'f16' => format === 'f32' || format === 'f16';

/** A model on the device, in one form. */
interface Loaded {
  readonly graph: Graph;
  readonly weights: ReadonlyMap<string, Weight>;
  /** Logits of the last of some tokens, by the f64 reference; where it fits the host. */
  reference?(tokens: Uint32Array): Promise<ArrayLike<number>>;
  release(): void;
}

/** Brings a model onto the device with its linear matrices in a format. */
type Load = (context: SuiteContext, format: string) => Promise<Loaded>;

const loadSample: Load = async (context, format) => {
  const { gpu, signal } = context;
  const files = await context.openModel();
  const checkpoint = await openCheckpoint(isDense(format) ? files : await compressed(gpu, files, format, signal));
  try {
    const graph = modelGraph(checkpoint);
    // Embedding and head are the same in all forms, so that only the matrices differ.
    const options: LoadOptions = { embeddings: 'f16', ...(isDense(format) && { dense: format }) };
    const weights = await loadWeights(gpu, checkpoint, graph, options, signal);
    const values = await dequantizedWeights(checkpoint, graph);
    return {
      graph,
      weights,
      reference: async (tokens) => new ReferenceRun(graph, values).forward([...tokens]).slice(-graph.vocabulary),
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

/** A few layers of a size of model, with synthetic weights and a small vocabulary, so that the head does not hide them. */
const loadStack =
  (size: keyof typeof MODEL_SHAPES): Load =>
  async ({ gpu, signal }, format) => {
    const layers = gpu.description.software ? LAYERS.software : LAYERS.gpu;
    const graph = stackGraph({ ...MODEL_SHAPES[size], vocabulary: STACK_VOCABULARY, layers });
    const maker = new WeightMaker(gpu, signal);
    try {
      const formatOf = (role: string) =>
        formatByName(role === 'linear' ? format : role === 'embedding' ? 'f16' : 'f32');
      return { graph, weights: await maker.make(graph.weights, formatOf), release: () => maker.release() };
    } catch (error) {
      maker.release();
      throw error;
    }
  };

interface Wanted {
  readonly model: string;
  readonly load: Load;
  readonly format: string;
  readonly phase: 'prefill' | 'decode';
  /** Tokens of a run. */
  readonly count: number;
  /** Dense forms to compare with. */
  readonly dense: readonly string[];
}

function modelCase({ model, load, format, phase, count, dense }: Wanted): Case {
  const prompt = Uint32Array.from({ length: phase === 'prefill' ? count : 16 }, (_, i) => (i * 37 + 11) % 4096);
  const work: ModelWork = { kind: 'model', model, format, phase, count, prompt };
  return {
    suite: 'model',
    name: `${model} ${format} ${phase} ${count}`,
    dimensions: { model, format, phase, tokens: count },
    items: { unit: 'tokens', count: 1 },
    baseline: DENSE,
    open: async (context): Promise<OpenCase> => {
      const loaded = await load(context, format);
      const { reference } = loaded;
      const ours: Contestant = {
        name: isDense(format) ? `dense ${format}` : 'ours',
        note:
          phase === 'prefill'
            ? 'all tokens at once, until the device has finished'
            : 'tokens chosen on the device, each taken through the model, and read back eight at a time; with what a text prepares once',
        prepare: () => ready(context, loaded, work),
      };
      const others = dense
        .filter((name) => name !== format)
        .map(
          (name): Contestant => ({
            name: `dense ${name}`,
            note: `ours, with linear matrices in ${name}`,
            async prepare() {
              const wide = await load(context, name);
              // Other weights than the reference's: these are held to it where they are a case of their own.
              const { check: _, ...prepared } = await ready(context, wide, work);
              return {
                ...prepared,
                release: async () => {
                  await prepared.release();
                  wide.release();
                },
              };
            },
          }),
        );
      return {
        work,
        contestants: [ours, ...others],
        ...(reference && {
          reference: {
            error: async (logits: Float32Array) => {
              const expected = await reference(prompt.subarray(0, CHECKED_TOKENS));
              const largest = Math.max(...Array.from(expected, Math.abs));
              return Math.max(...logits.map((value, i) => Math.abs(value - expected[i]!))) / largest;
            },
            tolerance: KERNEL_ERROR_MOST,
          },
        }),
        release: () => loaded.release(),
      };
    },
  };
}

/** A decoder over the weights; what a token has to read is the linear matrices, once for all tokens of a prefill. */
async function ready({ gpu, tuner }: SuiteContext, { graph, weights }: Loaded, work: ModelWork): Promise<Prepared> {
  const { prompt, phase, count } = work;
  const decoder = new Decoder(gpu, graph, weights, {
    maxPositions: prompt.length + count + 1,
    ...(tuner && { tuner }),
  });
  const prefill = async (tokens: Uint32Array) => {
    decoder.rewind();
    const batch = await decoder.forward(tokens, { lastOnly: true });
    await gpu.idle();
    return batch;
  };
  const decode = async () => {
    decoder.rewind(prompt.length - 1);
    for await (const _ of generate(decoder, prompt.subarray(-1), { maxTokens: count }));
  };
  try {
    await prefill(prompt);
  } catch (error) {
    decoder.release();
    throw error;
  }
  let [bytes, operations] = [0, 0];
  for (const { name, shape, role } of graph.weights) {
    if (role !== 'linear' && role !== 'head') continue;
    const { rows, k } = matrixShape(shape);
    bytes += formatBytes(weights.get(name)!.format, rows, k);
    operations += 2 * rows * k;
  }
  return {
    run: phase === 'prefill' ? async () => void (await prefill(prompt)) : decode,
    traffic: { bytes: phase === 'prefill' ? bytes / count : bytes, operations },
    check: async () => {
      const { logits, logitRows } = await prefill(prompt.subarray(0, CHECKED_TOKENS));
      const all = await readFloats(gpu, logits.buffer, logitRows * graph.vocabulary);
      await prefill(prompt);
      return all.slice(-graph.vocabulary);
    },
    release: () => decoder.release(),
  };
}

/** Whole models as their callers see them. */
export const modelSuite: Suite = {
  name: 'model',
  title: 'Models',
  cases: ({ gpu, quick }) => {
    const { software } = gpu.description;
    const phases = ['prefill', 'decode'] as const;
    const of = (
      model: string,
      load: Load,
      formats: readonly string[],
      tokens: Record<(typeof phases)[number], number>,
      dense: readonly string[],
    ) =>
      formats.flatMap((format) =>
        phases.map((phase) => modelCase({ model, load, format, phase, count: tokens[phase], dense })),
      );
    const tokens = { prefill: PROMPT_TOKENS, decode: DECODED_TOKENS };
    const sizes = quick ? [] : (['1B', '8B'] as const);
    return [
      ...of(SAMPLE, loadSample, quick ? ['q4_0'] : FORMATS, tokens, ['f32']),
      ...sizes.flatMap((size) =>
        of(`${size} layers`, loadStack(size), STACK_FORMATS, software ? FEW : tokens, ['f32', 'f16']),
      ),
    ];
  },
};
