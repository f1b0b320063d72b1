import * as v from 'valibot';
import { commonEntries, shapeOf, slidingLayers, windowEntries } from './config.ts';
import { activation, failIn, flag, readFields, whole } from './config-fields.ts';
import { decoderGraph, type LayerSpec } from './decoder-graph.ts';
import type { Family } from './family.ts';
import { ropeFields, rotaryLayer } from './layers.ts';

const schema = v.object(
  {
    ...commonEntries,
    ...windowEntries,
    hidden_act: activation('silu'),
    attention_bias: flag,
    mlp_bias: flag,
    no_rope_layers: v.nullish(v.array(v.picklist([0, 1], 'must be 1 (rotary embedding) or 0'), 'must be a list')),
    no_rope_layer_interval: v.nullish(whole(1024), 4),
  },
  'must be an object',
);

/**
 * SmolLM 3: Llama, but every fourth layer does not know positions. `no_rope_layers` says 1 where a layer has rotary embedding, whatever its
 * name suggests. Source: SmolLM3's configuration in Transformers, 2025.
 */
export const smollm3: Family = {
  architectures: ['SmolLM3ForCausalLM'],
  build(config, file) {
    const c = readFields(schema, config, file);
    const shape = shapeOf(c, file, { maxPositions: 32768 });
    const listed = c.no_rope_layers ?? [];
    if (c.no_rope_layers && listed.length < c.num_hidden_layers) {
      failIn(file)(`no_rope_layers has ${listed.length} entries for num_hidden_layers ${c.num_hidden_layers}`);
    }
    const rotates = (layer: number) =>
      c.no_rope_layers ? listed[layer] === 1 : (layer + 1) % c.no_rope_layer_interval !== 0;
    const size = c.use_sliding_window ? (c.sliding_window ?? undefined) : undefined;
    const sliding = slidingLayers(c, file, (layer) => !rotates(layer));
    const rotary = rotaryLayer({ shape, ...ropeFields(c, 2e6) }, file);
    const still = { rotary: undefined, scale: 1 / Math.sqrt(shape.headDim) };
    return decoderGraph({
      ...shape,
      layers: sliding.map(
        (slides, layer): LayerSpec => ({ ...(rotates(layer) ? rotary : still), window: slides ? size : undefined }),
      ),
      tiedHead: c.tie_word_embeddings ?? true,
      qkvBias: c.attention_bias,
      outputBias: c.attention_bias,
      ffnBias: c.mlp_bias,
    });
  },
};
