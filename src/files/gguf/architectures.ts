/** What a config.json of a family means where it does not say it. */
export interface ArchitectureDefaults {
  /** Else what is left when the hidden width is shared among the heads. */
  readonly headDim?: number;
  readonly maxPositions: number;
  /** Of the rotary wavelengths. */
  readonly theta: number;
  /** The output head is the embedding. */
  readonly tiedHead: boolean;
}

/** A kind of model that both GGUF and Hugging Face know. */
export interface GgufArchitecture {
  /** `general.architecture`, and the prefix of the model's keys. */
  readonly name: string;
  /** What `architectures` in config.json says. */
  readonly huggingFace: string;
  /** `model_type` in config.json. */
  readonly modelType: string;
  /** Rows of queries and keys are stored as interleaved pairs: see row-order.ts. */
  readonly interleaved: boolean;
  /** What attention and FFN give is normalized too: see tensor-names.ts. */
  readonly postNorms: boolean;
  /** GGUF stores norms with this added, Hugging Face as the distance from it. */
  readonly normOffset: number;
  readonly defaults: ArchitectureDefaults;
}

const llama = { interleaved: true, postNorms: false, normOffset: 0 };
const qwen = { ...llama, interleaved: false };
const gemma = { ...qwen, normOffset: 1 };
const gemmaPostNorms = { ...gemma, postNorms: true };

/**
 * A new one is a line here, provided that its tensors have the names of tensor-names.ts and its config the keys of config-write.ts; what
 * it has besides is a line in settings-by-type.ts. Of two with one name, reading a GGUF file gives the first.
 */
export const ggufArchitectures: readonly GgufArchitecture[] = [
  {
    ...llama,
    name: 'llama',
    huggingFace: 'LlamaForCausalLM',
    modelType: 'llama',
    defaults: { maxPositions: 2048, theta: 10000, tiedHead: false },
  },
  {
    ...llama,
    name: 'llama',
    huggingFace: 'MistralForCausalLM',
    modelType: 'mistral',
    defaults: { maxPositions: 131072, theta: 10000, tiedHead: false },
  },
  {
    ...qwen,
    name: 'qwen2',
    huggingFace: 'Qwen2ForCausalLM',
    modelType: 'qwen2',
    defaults: { maxPositions: 32768, theta: 10000, tiedHead: false },
  },
  {
    ...qwen,
    name: 'qwen3',
    huggingFace: 'Qwen3ForCausalLM',
    modelType: 'qwen3',
    defaults: { headDim: 128, maxPositions: 32768, theta: 10000, tiedHead: false },
  },
  {
    ...llama,
    name: 'smollm3',
    huggingFace: 'SmolLM3ForCausalLM',
    modelType: 'smollm3',
    defaults: { maxPositions: 32768, theta: 2e6, tiedHead: true },
  },
  {
    ...gemma,
    name: 'gemma',
    huggingFace: 'GemmaForCausalLM',
    modelType: 'gemma',
    defaults: { headDim: 256, maxPositions: 8192, theta: 10000, tiedHead: true },
  },
  {
    ...gemmaPostNorms,
    name: 'gemma2',
    huggingFace: 'Gemma2ForCausalLM',
    modelType: 'gemma2',
    defaults: { headDim: 256, maxPositions: 8192, theta: 10000, tiedHead: true },
  },
  {
    ...gemmaPostNorms,
    name: 'gemma3',
    huggingFace: 'Gemma3ForCausalLM',
    modelType: 'gemma3_text',
    defaults: { headDim: 256, maxPositions: 131072, theta: 1e6, tiedHead: true },
  },
];

/** By what a GGUF file says. */
export const architectureByName = (name: string): GgufArchitecture | undefined =>
  ggufArchitectures.find((each) => each.name === name);

/** By `architectures` of a config.json. */
export const architectureOf = (config: { readonly architectures?: unknown }): GgufArchitecture | undefined => {
  const names = Array.isArray(config.architectures) ? config.architectures : [];
  return ggufArchitectures.find(({ huggingFace }) => names.includes(huggingFace));
};
