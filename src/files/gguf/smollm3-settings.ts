import type { FamilySettings } from './family-settings.ts';

/** Every how manyth layer has no rotary embedding; llama.cpp has it built in. */
const STILL = 4;

const rotary = (layers: number): number[] => Array.from({ length: layers }, (_, i) => ((i + 1) % STILL === 0 ? 0 : 1));

/** SmolLM 3: layers without positions, which no key says. */
export const smollm3Settings: FamilySettings = {
  write(fields) {
    const { config, layers } = fields;
    if (config.attention_bias === true || config.mlp_bias === true) fields.cannotSay('biases');
    if (config.use_sliding_window === true) fields.cannotSay('that layers see a window');
    const list = config.no_rope_layers;
    const implied = Array.isArray(list)
      ? rotary(layers).every((has, i) => list[i] === has)
      : (fields.number('no_rope_layer_interval') ?? STILL) === STILL;
    if (!implied) fields.cannotSay(`that other layers than every ${STILL}th do without positions`);
    return [];
  },
  read: ({ layers }) => ({
    no_rope_layers: rotary(layers),
    no_rope_layer_interval: STILL,
    use_sliding_window: false,
    attention_bias: false,
    mlp_bias: false,
  }),
};
