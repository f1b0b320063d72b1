import { Decoder } from '../../../src/graph/decoder.ts';
import { generate } from '../../../src/graph/generate.ts';
import type { Contestant, ModelWork, Prepared } from '../contestant.ts';
import { modelReference } from '../model-check.ts';
import { formatsOf, type LoadedModel, type LoadModel, loadSample, loadStack, sampleGguf } from '../model-load.ts';
import { MODEL_SHAPES } from '../model-shapes.ts';
import { modelTraffic } from '../model-traffic.ts';
import { DENSE, OURS } from '../names.ts';
import { readFloats } from '../recorded.ts';
import type { Case, OpenCase, Suite, SuiteContext } from '../suite.ts';

/** The sample model, as peers find it. */
export const SAMPLE = 'union-7m';
const FORMATS = ['f32', 'q8_0', 'q4_0', 'q4_k', 'q4_k_m', 'int4-g64-asym', 'w8a8'];
/** Of these, those that llama.cpp is asked to do too: its shaders take minutes to compile on a software device, for each model. */
const GGUF_FORMATS = ['q4_0', 'q4_k_m'];
const STACK_FORMATS = ['q8_0', 'q4_0', 'q4_k'];
const PROMPT_TOKENS = 128;
const DECODED_TOKENS = 32;
/** On a CPU a layer of these shapes takes as long as a small model. */
const FEW = { prefill: 8, decode: 4 } as const;
/** Layers of a stack: more than a cache holds of 1B shapes on a GPU. */
const LAYERS = { software: 1, gpu: 4 } as const;
const STACK_VOCABULARY = 4096;
/** A few layers of a size of model, with a small vocabulary, so that the head does not hide them. */
const stackOf = (size: keyof typeof MODEL_SHAPES): LoadModel =>
  loadStack({ ...MODEL_SHAPES[size], vocabulary: STACK_VOCABULARY }, ({ description: { software } }) =>
    software ? LAYERS.software : LAYERS.gpu,
  );

interface Wanted {
  readonly model: string;
  readonly load: LoadModel;
  readonly format: string;
  readonly phase: 'prefill' | 'decode';
  /** Tokens of a run. */
  readonly count: number;
  /** Dense forms to compare with. */
  readonly dense: readonly string[];
}

/** A model in one form, at a prompt or behind one. */
export function modelCase({ model, load, format, phase, count, dense }: Wanted): Case {
  return {
    suite: 'model',
    name: `${model} ${format} ${phase} ${count}`,
    dimensions: { model, format, phase, tokens: count },
    items: { unit: 'tokens', count: 1 },
    baseline: DENSE,
    open: async (context): Promise<OpenCase> => {
      const loaded = await load(context, format);
      const { vocabulary } = loaded.graph;
      const length = phase === 'prefill' ? count : 16;
      const prompt = Uint32Array.from({ length }, (_, i) => (i * 37 + 11) % Math.min(4096, vocabulary));
      const work: ModelWork = {
        ...{ kind: 'model', model, format, phase, count, prompt },
        ...(model === SAMPLE && GGUF_FORMATS.includes(format) && { gguf: () => sampleGguf(context, format) }),
      };
      const ours: Contestant = {
        name: OURS,
        note:
          phase === 'prefill'
            ? 'all tokens at once and the choice of the one behind them, read back; with what a text prepares once'
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
              try {
                const prepared = await ready(context, wide, work);
                return {
                  ...prepared,
                  // Other weights than the case's.
                  reference: modelReference(wide, work),
                  release: async () => {
                    await prepared.release();
                    wide.release();
                  },
                };
              } catch (error) {
                wide.release();
                throw error;
              }
            },
          }),
        );
      return {
        work,
        contestants: [ours, ...others],
        reference: modelReference(loaded, work),
        release: () => loaded.release(),
      };
    },
  };
}

/** A decoder over the weights. */
async function ready({ gpu, tuner }: SuiteContext, model: LoadedModel, work: ModelWork): Promise<Prepared> {
  const { graph, weights } = model;
  const { prompt, phase, count } = work;
  const decoder = new Decoder(gpu, graph, weights, {
    maxPositions: prompt.length + count + 1,
    ...(tuner && { tuner }),
  });
  const write = async (from: number, maxTokens: number) => {
    decoder.rewind(from);
    const written: number[] = [];
    for await (const token of generate(decoder, prompt.subarray(from), { maxTokens })) written.push(token);
    return written;
  };
  // To the first token that the host has: what a peer's time of a prompt is, too.
  const prefill = () => write(0, 1);
  const decode = () => write(prompt.length - 1, count);
  try {
    await prefill();
  } catch (error) {
    decoder.release();
    throw error;
  }
  return {
    run: async () => void (await (phase === 'prefill' ? prefill() : decode())),
    traffic: modelTraffic(graph, formatsOf(model), work),
    // What the timed run itself makes: the same recordings.
    check: async () => {
      const written = await (phase === 'prefill' ? prefill() : decode());
      const { batch } = await decoder.record(phase === 'prefill' ? prompt.length : 1, { lastOnly: true });
      const { logits, logitRows } = batch;
      const all = await readFloats(gpu, logits.buffer, logitRows * graph.vocabulary);
      return Float32Array.from([...(phase === 'prefill' ? [] : written), ...all.subarray(-graph.vocabulary)]);
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
      load: LoadModel,
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
        of(`${size} layers`, stackOf(size), STACK_FORMATS, software ? FEW : tokens, ['f32', 'f16']),
      ),
    ];
  },
};
