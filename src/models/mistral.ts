import * as v from 'valibot';
import { commonEntries, shapeOf, windowEntries } from './config.ts';
import { activation, readFields } from './config-fields.ts';
import { decoderGraph } from './decoder-graph.ts';
import type { Family } from './family.ts';
import { ropeFields, rotaryLayer } from './layers.ts';

const schema = v.object(
  { ...commonEntries, hidden_act: activation('silu'), sliding_window: windowEntries.sliding_window },
  'must be an object',
);

/** Where the config does not name a window, not even as null. */
const DEFAULT_WINDOW = 4096;

/** Mistral 7B and what has its blocks: Llama with a window on all layers, from 0.2 on without one. Source: Jiang et al., 2023. */
export const mistral: Family = {
  architectures: ['MistralForCausalLM'],
  build(config, file) {
    const c = readFields(schema, config, file);
    const shape = shapeOf(c, file, { maxPositions: 131072 });
    const window = c.sliding_window === undefined ? DEFAULT_WINDOW : (c.sliding_window ?? undefined);
    const layer = rotaryLayer({ shape, ...ropeFields(c), window }, file);
    return decoderGraph({
      ...shape,
      layers: Array.from({ length: c.num_hidden_layers }, () => layer),
      tiedHead: c.tie_word_embeddings ?? false,
    });
  },
};
