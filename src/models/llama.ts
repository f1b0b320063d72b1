import * as v from 'valibot';
import { commonEntries, shapeOf } from './config.ts';
import { activation, flag, readFields } from './config-fields.ts';
import { decoderGraph } from './decoder-graph.ts';
import type { Family } from './family.ts';
import { ropeFields, rotaryLayer } from './layers.ts';

const schema = v.object(
  { ...commonEntries, hidden_act: activation('silu'), attention_bias: flag, mlp_bias: flag },
  'must be an object',
);

/** Llama up to 3, SmolLM up to 2, and all with the same blocks: RMS norm, rotary positions, grouped queries, gated FFN. */
export const llama: Family = {
  architectures: ['LlamaForCausalLM'],
  build(config, file) {
    const c = readFields(schema, config, file);
    const shape = shapeOf(c, file, { maxPositions: 2048 });
    const layer = rotaryLayer({ shape, ...ropeFields(c) }, file);
    return decoderGraph({
      ...shape,
      layers: Array.from({ length: c.num_hidden_layers }, () => layer),
      tiedHead: c.tie_word_embeddings ?? false,
      qkvBias: c.attention_bias,
      outputBias: c.attention_bias,
      ffnBias: c.mlp_bias,
    });
  },
};
