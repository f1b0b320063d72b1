import * as v from 'valibot';
import type { Graph } from '../graph/graph.ts';
import { commonEntries, shapeOf, slidingLayers, windowEntries } from './config.ts';
import { activation, flag, readFields } from './config-fields.ts';
import { type DecoderSpec, decoderGraph } from './decoder-graph.ts';
import type { Family } from './family.ts';
import { ropeFields, rotaryLayer } from './layers.ts';

const schema = v.object(
  { ...commonEntries, ...windowEntries, hidden_act: activation('silu'), attention_bias: flag },
  'must be an object',
);
type Fields = v.InferOutput<typeof schema>;

const WINDOW = 4096;
/** Layers from the bottom that see everything, also where there is a window. */
const WHOLE_LAYERS = 28;

/** Qwen 2 and 2.5: Llama with biases on queries, keys and values. Source: Qwen2 technical report, 2024. */
export const qwen2: Family = {
  architectures: ['Qwen2ForCausalLM'],
  build: (config, file) => qwenGraph(config, file, undefined, () => ({ qkvBias: true })),
};

/** Qwen 3: norms on the queries and keys of each head, no biases. Source: Qwen3 technical report, 2025. */
export const qwen3: Family = {
  architectures: ['Qwen3ForCausalLM'],
  build: (config, file) =>
    qwenGraph(config, file, 128, ({ attention_bias: bias }) => ({ qkNorm: true, qkvBias: bias, outputBias: bias })),
};

function qwenGraph(
  config: unknown,
  file: string,
  headDim: number | undefined,
  differences: (fields: Fields) => Partial<DecoderSpec>,
): Graph {
  const c = readFields(schema, config, file);
  const shape = shapeOf(c, file, { maxPositions: 32768, ...(headDim !== undefined && { headDim }) });
  const rope = ropeFields(c);
  const size = c.use_sliding_window ? (c.sliding_window === undefined ? WINDOW : c.sliding_window) : null;
  const sliding = slidingLayers(c, file, (layer) => layer >= (c.max_window_layers ?? WHOLE_LAYERS));
  const whole = rotaryLayer({ shape, ...rope }, file);
  return decoderGraph({
    ...shape,
    layers: sliding.map((slides) => (slides && size !== null ? { ...whole, window: size } : whole)),
    tiedHead: c.tie_word_embeddings ?? false,
    ...differences(c),
  });
}
