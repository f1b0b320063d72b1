/** What a preset looks at where it gives a matrix of a layer more bits. */
export interface LayerFacts {
  /** From 0 on. */
  readonly layer: number;
  readonly layers: number;
  /** Heads of queries to one of keys. */
  readonly queriesPerKey: number;
}

/** The format of a matrix of a layer; undefined where it gets what all others do. */
export type ByLayer = (facts: LayerFacts) => string | undefined;

/** A mixture of ggml's types, as llama.cpp's `llama_model_quantize` has it for a `llama_ftype`. */
export interface GgmlPreset {
  /** As llama.cpp writes it. */
  readonly name: string;
  /** Its number in `llama_ftype`: what `general.file_type` says. */
  readonly fileType: number;
  /** The format of all matrices but those of which one of the others gives a format. */
  readonly base: string;
  readonly values?: ByLayer;
  readonly attentionOutput?: string;
  readonly down?: ByLayer;
}

/** The first and the last eighth of the layers, and every third one between them (`use_more_bits`). */
const favoured = ({ layer, layers }: LayerFacts): boolean => {
  const eighth = Math.floor(layers / 8);
  return layer < eighth || layer >= Math.floor((7 * layers) / 8) || (layer - eighth) % 3 === 2;
};

const inFirst =
  (part: 8 | 16) =>
  ({ layer, layers }: LayerFacts): boolean =>
    layer < Math.floor(layers / part);

/** Values that many heads share are few, and more depends on each. */
const shared = ({ queriesPerKey }: LayerFacts): boolean => queriesPerKey >= 4;

/** From `llama_tensor_get_type_impl` in llama.cpp's `src/llama-quant.cpp`, at commit 007dbbf. */
export const ggmlPresets: readonly GgmlPreset[] = [
  {
    name: 'Q2_K',
    fileType: 10,
    base: 'q2_k',
    values: (facts) => (shared(facts) ? 'q4_k' : 'q3_k'),
    attentionOutput: 'q3_k',
    down: () => 'q3_k',
  },
  {
    name: 'Q2_K_S',
    fileType: 21,
    base: 'q2_k',
    values: (facts) => (shared(facts) ? 'q4_k' : undefined),
    down: (facts) => (inFirst(8)(facts) ? 'q4_k' : undefined),
  },
  { name: 'Q3_K_S', fileType: 11, base: 'q3_k' },
  {
    name: 'Q3_K_M',
    fileType: 12,
    base: 'q3_k',
    values: ({ layer }) => (layer < 2 ? 'q5_k' : 'q4_k'),
    attentionOutput: 'q4_k',
    down: (facts) => (inFirst(16)(facts) ? 'q5_k' : 'q4_k'),
  },
  {
    name: 'Q3_K_L',
    fileType: 13,
    base: 'q3_k',
    values: () => 'q5_k',
    attentionOutput: 'q5_k',
    down: () => 'q5_k',
  },
  {
    name: 'Q4_K_S',
    fileType: 14,
    base: 'q4_k',
    values: ({ layer }) => (layer < 4 ? 'q5_k' : undefined),
    down: (facts) => (inFirst(8)(facts) ? 'q5_k' : undefined),
  },
  {
    name: 'Q4_K_M',
    fileType: 15,
    base: 'q4_k',
    values: (facts) => (favoured(facts) ? 'q6_k' : undefined),
    down: (facts) => (favoured(facts) ? 'q6_k' : undefined),
  },
  { name: 'Q5_K_S', fileType: 16, base: 'q5_k' },
  {
    name: 'Q5_K_M',
    fileType: 17,
    base: 'q5_k',
    values: (facts) => (favoured(facts) ? 'q6_k' : undefined),
    down: (facts) => (favoured(facts) ? 'q6_k' : undefined),
  },
  { name: 'Q6_K', fileType: 18, base: 'q6_k' },
];
