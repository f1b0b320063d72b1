/** A kind of model that both GGUF and Hugging Face know. */
export interface GgufArchitecture {
  /** `general.architecture`, and the prefix of the model's keys. */
  readonly name: string;
  /** What `architectures` in config.json says; the first is what reading a GGUF file gives. */
  readonly huggingFace: readonly string[];
  /** `model_type` in config.json. */
  readonly modelType: string;
  /** Rows of queries and keys are stored as interleaved pairs: see row-order.ts. */
  readonly interleaved: boolean;
}

/** A new one is a line here, provided that its tensors have the names of tensor-names.ts and its config the keys of config.ts. */
export const ggufArchitectures: readonly GgufArchitecture[] = [
  { name: 'llama', huggingFace: ['LlamaForCausalLM', 'MistralForCausalLM'], modelType: 'llama', interleaved: true },
  { name: 'qwen2', huggingFace: ['Qwen2ForCausalLM'], modelType: 'qwen2', interleaved: false },
  { name: 'qwen3', huggingFace: ['Qwen3ForCausalLM'], modelType: 'qwen3', interleaved: false },
];

/** By what a GGUF file says. */
export const architectureByName = (name: string): GgufArchitecture | undefined =>
  ggufArchitectures.find((each) => each.name === name);

/** By `architectures` of a config.json. */
export const architectureOf = (config: { readonly architectures?: unknown }): GgufArchitecture | undefined => {
  const names = Array.isArray(config.architectures) ? config.architectures : [];
  return ggufArchitectures.find(({ huggingFace }) => huggingFace.some((name) => names.includes(name)));
};
