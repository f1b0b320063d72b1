/**
 * Names of tensors, without `.weight` or `.bias`: in GGUF (llama.cpp's `llm_tensor` names) and in Hugging Face checkpoints.
 * `N` stands for the layer.
 */
const NAMES: readonly (readonly [gguf: string, huggingFace: string])[] = [
  ['token_embd', 'model.embed_tokens'],
  ['output_norm', 'model.norm'],
  ['output', 'lm_head'],
  ['blk.N.attn_norm', 'model.layers.N.input_layernorm'],
  ['blk.N.attn_q', 'model.layers.N.self_attn.q_proj'],
  ['blk.N.attn_k', 'model.layers.N.self_attn.k_proj'],
  ['blk.N.attn_v', 'model.layers.N.self_attn.v_proj'],
  ['blk.N.attn_output', 'model.layers.N.self_attn.o_proj'],
  ['blk.N.attn_q_norm', 'model.layers.N.self_attn.q_norm'],
  ['blk.N.attn_k_norm', 'model.layers.N.self_attn.k_norm'],
  ['blk.N.ffn_gate', 'model.layers.N.mlp.gate_proj'],
  ['blk.N.ffn_up', 'model.layers.N.mlp.up_proj'],
  ['blk.N.ffn_down', 'model.layers.N.mlp.down_proj'],
];
/** Where only what goes into attention and FFN is normalized. */
const PLAIN_NORMS: typeof NAMES = [['blk.N.ffn_norm', 'model.layers.N.post_attention_layernorm']];
/** Where what comes out of them is, too. */
const POST_NORMS: typeof NAMES = [
  ['blk.N.post_attention_norm', 'model.layers.N.post_attention_layernorm'],
  ['blk.N.ffn_norm', 'model.layers.N.pre_feedforward_layernorm'],
  ['blk.N.post_ffw_norm', 'model.layers.N.post_feedforward_layernorm'],
];

/** Both directions. */
const tables = (norms: typeof NAMES) => ({
  toHuggingFace: new Map([...NAMES, ...norms]),
  toGguf: new Map([...NAMES, ...norms].map(([gguf, huggingFace]) => [huggingFace, gguf])),
});
const plain = tables(PLAIN_NORMS);
const withPostNorms = tables(POST_NORMS);

/** The tensor of factors by which Llama 3.1 divides its rotary frequencies; in Hugging Face they are in the config. */
export const ROPE_FACTORS = 'rope_freqs.weight';

/** The name in a Hugging Face checkpoint; undefined where there is none. `postNorms`: as `GgufArchitecture` has it. */
export const huggingFaceName = (gguf: string, postNorms = false): string | undefined =>
  translate(gguf, /^(blk)\.(\d+)\./, (postNorms ? withPostNorms : plain).toHuggingFace);

/** The name in a GGUF file; undefined where there is none. */
export const ggufName = (huggingFace: string, postNorms = false): string | undefined =>
  translate(huggingFace, /^(model\.layers)\.(\d+)\./, (postNorms ? withPostNorms : plain).toGguf);

/** Whether this tensor, by its name in Hugging Face, is the weight of a norm. */
export const isNorm = (huggingFace: string): boolean => /norm\.weight$/.test(huggingFace);

/** Whether the rows of this tensor, by its name in Hugging Face, are those of queries or keys. */
export function rotatedRows(huggingFace: string): 'queries' | 'keys' | undefined {
  const match = /\.self_attn\.([qk])_proj\.(?:weight|bias)$/.exec(huggingFace);
  return match ? (match[1] === 'q' ? 'queries' : 'keys') : undefined;
}

function translate(name: string, layerOf: RegExp, names: ReadonlyMap<string, string>): string | undefined {
  const suffix = /\.(?:weight|bias)$/.exec(name)?.[0];
  if (suffix === undefined) return undefined;
  const layer = layerOf.exec(name);
  const stem = name.slice(0, -suffix.length);
  const found = names.get(layer ? stem.replace(layer[0], `${layer[1]}.N.`) : stem);
  if (found === undefined || found.includes('.N.') !== (layer !== null)) return undefined;
  return `${found.replace('.N.', `.${layer?.[2]}.`)}${suffix}`;
}
