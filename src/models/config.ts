/** The fields of `config.json` that every family has, with Hugging Face's names. */
import * as v from 'valibot';
import { between, failIn, flag, whole } from './config-fields.ts';
import { ropeEntries } from './rope.ts';

// Each limit is far above any published model: a config beyond it is broken or hostile, and would make us allocate
// or loop without end (CWE-770). Products of any two stay safe integers.
const MAX_LAYERS = 1024;
const MAX_HEADS = 4096;
const MAX_HEAD_DIM = 4096;
const MAX_WIDTH = 2 ** 20;
const MAX_VOCABULARY = 2 ** 24;
const MAX_POSITIONS = 2 ** 28;

const width = whole(MAX_WIDTH);
/** The width of every FFN, or a list with one for each layer, as Gemma 3n writes it. */
const ffnWidth = v.lazy(
  (input): v.GenericSchema<unknown, number | number[]> => (Array.isArray(input) ? v.array(width) : width),
);

/** For `v.object`. What may be absent has a default by family, except that the sizes must be there. */
export const commonEntries = {
  hidden_size: width,
  intermediate_size: ffnWidth,
  num_hidden_layers: whole(MAX_LAYERS),
  num_attention_heads: whole(MAX_HEADS),
  num_key_value_heads: v.nullish(whole(MAX_HEADS)),
  head_dim: v.nullish(whole(MAX_HEAD_DIM)),
  vocab_size: whole(MAX_VOCABULARY),
  max_position_embeddings: v.nullish(whole(MAX_POSITIONS)),
  rms_norm_eps: v.nullish(between(0, 1), 1e-6),
  tie_word_embeddings: v.nullish(v.boolean('must be true or false')),
  ...ropeEntries,
};
type CommonFields = v.InferOutput<v.ObjectSchema<typeof commonEntries, undefined>>;

/** For families in which some layers see a window only. */
export const windowEntries = {
  sliding_window: v.nullish(whole(MAX_POSITIONS)),
  use_sliding_window: flag,
  max_window_layers: v.nullish(v.pipe(v.number('must be a number'), v.minValue(0, 'must not be negative'))),
  layer_types: v.nullish(
    v.array(
      v.picklist(
        ['full_attention', 'sliding_attention'],
        'is a kind of layer that is not supported; "full_attention" and "sliding_attention" are',
      ),
      'must be a list',
    ),
  ),
};

/** The sizes of a decoder. */
export interface DecoderShape {
  readonly hidden: number;
  /** Of each layer. */
  readonly ffn: readonly number[];
  readonly heads: number;
  /** Divides `heads`. */
  readonly kvHeads: number;
  /** Even. */
  readonly headDim: number;
  readonly vocabulary: number;
  readonly maxPositions: number;
  readonly normEpsilon: number;
}

export interface ShapeDefaults {
  /** Default: what is left when the hidden width is shared among the heads. */
  readonly headDim?: number;
  readonly maxPositions: number;
}

/** The checked sizes. `file` names the config in messages. @throws ModelError */
export function shapeOf(c: CommonFields, file: string, defaults: ShapeDefaults): DecoderShape {
  const fail = failIn(file);
  const heads = c.num_attention_heads;
  const kvHeads = c.num_key_value_heads ?? heads;
  const headDim = c.head_dim ?? defaults.headDim ?? c.hidden_size / heads;
  if (heads % kvHeads !== 0) fail(`num_key_value_heads ${kvHeads} does not divide num_attention_heads ${heads}`);
  if (!Number.isInteger(headDim)) {
    fail(`num_attention_heads ${heads} does not divide hidden_size ${c.hidden_size}, and there is no head_dim`);
  }
  if (headDim % 2 !== 0) fail(`head_dim ${headDim} is odd; rotary embedding rotates pairs, so it must be even`);
  if (headDim > MAX_HEAD_DIM) {
    fail(`hidden_size ${c.hidden_size} over num_attention_heads ${heads} is above the limit of ${MAX_HEAD_DIM} a head`);
  }
  return {
    hidden: c.hidden_size,
    ffn: ffnWidths(c, file),
    heads,
    kvHeads,
    headDim,
    vocabulary: c.vocab_size,
    maxPositions: c.max_position_embeddings ?? defaults.maxPositions,
    normEpsilon: c.rms_norm_eps,
  };
}

function ffnWidths({ intermediate_size: widths, num_hidden_layers: layers }: CommonFields, file: string): number[] {
  if (typeof widths === 'number') return Array.from({ length: layers }, () => widths);
  if (widths.length !== layers) {
    failIn(file)(`intermediate_size has ${widths.length} entries for num_hidden_layers ${layers}`);
  }
  return widths;
}

/** Whether each layer sees a window only: by the config's list, or by what its family does without one. @throws ModelError */
export function slidingLayers(
  c: { readonly num_hidden_layers: number; readonly layer_types?: readonly string[] | null | undefined },
  file: string,
  byDefault: (layer: number) => boolean,
): boolean[] {
  const { num_hidden_layers: layers, layer_types: types } = c;
  if (types && types.length < layers) {
    failIn(file)(`layer_types has ${types.length} entries for num_hidden_layers ${layers}`);
  }
  return Array.from({ length: layers }, (_, layer) =>
    types ? types[layer] === 'sliding_attention' : byDefault(layer),
  );
}
