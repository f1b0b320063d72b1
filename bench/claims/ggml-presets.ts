import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  compress,
  cutWindows,
  type Gpu,
  ggmlPresets,
  type ModelFiles,
  memoryFolder,
  nodeFileSink,
  nodeFolder,
  openPath,
  planCompression,
} from 'compressa';
import { type Claim, SAMPLE_MODEL } from '../claim.ts';
import { ourOpinion, perplexityClaim, theirOpinion } from '../gguf-opinions.ts';
import { type LlamaQuantizer, openLlamaQuantizer } from '../peers/llama-quantize.ts';
import { randomModel } from '../random-model.ts';

/** Small, of random weights. */
const COMMON = {
  hidden_size: 256,
  intermediate_size: 256,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 64,
  vocab_size: 4096,
  max_position_embeddings: 512,
  rms_norm_eps: 1e-5,
  hidden_act: 'silu',
  tie_word_embeddings: false,
};

const SHAPES: Readonly<Record<string, object>> = {
  'Llama, 32 layers, 4 queries to a key': {
    architectures: ['LlamaForCausalLM'],
    num_hidden_layers: 32,
    num_key_value_heads: 1,
  },
  'Llama, 80 layers': { architectures: ['LlamaForCausalLM'], num_hidden_layers: 80 },
  'Llama, 80 layers, as many keys as queries': {
    architectures: ['LlamaForCausalLM'],
    num_hidden_layers: 80,
    num_key_value_heads: 4,
  },
  'Qwen2, 80 layers, as many keys as queries': {
    architectures: ['Qwen2ForCausalLM'],
    num_hidden_layers: 80,
    num_key_value_heads: 4,
  },
  'Qwen3, 13 layers, rows that 32 does not divide': {
    architectures: ['Qwen3ForCausalLM'],
    num_hidden_layers: 13,
    head_dim: 32,
    intermediate_size: 272,
  },
  'Gemma 2, 26 layers, rows that 256 does not divide': {
    architectures: ['Gemma2ForCausalLM'],
    num_hidden_layers: 26,
    hidden_size: 288,
    intermediate_size: 512,
    tie_word_embeddings: true,
    hidden_activation: 'gelu_pytorch_tanh',
    query_pre_attn_scalar: 64,
  },
};

/** Presets whose files llama.cpp reads here, and with which perplexity. */
const SCORED = ['Q2_K', 'Q3_K_M', 'Q4_K_S', 'Q4_K_M', 'Q5_K_M', 'Q6_K'];

const MOST_TENSORS = 500;
const MIXED = ['Q2_K', 'Q3_K_M', 'Q4_K_S', 'Q4_K_M'];

/** Formats of all tensors by their name, of the file that llama.cpp writes and of ours. */
async function compareTypes(
  gpu: Gpu,
  quantizer: LlamaQuantizer,
  model: () => Promise<ModelFiles>,
  folder: string,
): Promise<{ readonly same: number; readonly all: number; readonly unlike: readonly string[] }> {
  const [dense, theirs] = [join(folder, 'dense.gguf'), join(folder, 'theirs.gguf')];
  await compress(await model(), await nodeFileSink(dense, { overwrite: true }), { gpu, format: 'keep' });
  const unlike: string[] = [];
  let [same, all] = [0, 0];
  for (const { name, fileType } of ggmlPresets) {
    const ours = await planCompression(await model(), { format: name, output: 'gguf' });
    // Of the largest, the presets that give values three or four bits: that is where they differ.
    if (ours.tensors.length > MOST_TENSORS && !MIXED.includes(name)) continue;
    // Q2_K_S asks for importance; that all columns are alike changes no type.
    const columns = ours.tensors
      .filter(({ shape }) => shape.length === 2)
      .map((tensor) => [ggufNameOf(tensor.name), new Float32Array(tensor.shape[1]!).fill(1)] as const);
    quantizer.quantize(dense, theirs, fileType, name === 'Q2_K_S' ? new Map(columns) : undefined);
    const written = await planCompression(await openPath(theirs), { format: 'keep' });
    const formats = new Map(written.tensors.map((tensor) => [tensor.name, tensor.format]));
    for (const tensor of ours.tensors) {
      all++;
      if (formats.get(tensor.name) === tensor.format) same++;
      else unlike.push(`${name}: ${tensor.name} is ${tensor.format}, not ${formats.get(tensor.name)}`);
    }
  }
  return { same, all, unlike };
}

const PARTS: Readonly<Record<string, string>> = {
  q_proj: 'attn_q',
  k_proj: 'attn_k',
  v_proj: 'attn_v',
  o_proj: 'attn_output',
  gate_proj: 'ffn_gate',
  up_proj: 'ffn_up',
  down_proj: 'ffn_down',
};

function ggufNameOf(name: string): string {
  const [, layer, part] = /layers\.(\d+)\.\w+\.(\w+)\.weight/.exec(name) ?? [];
  if (layer !== undefined) return `blk.${layer}.${PARTS[part!]}.weight`;
  return name === 'lm_head.weight' ? 'output.weight' : 'token_embd.weight';
}

/** A preset gives each tensor the type that llama.cpp's own quantizer gives it, and llama.cpp runs the file as we do. */
export const claim: Claim = {
  name: 'presets of ggml',
  async *measure(gpu, takes) {
    const quantizer = openLlamaQuantizer();
    if (typeof quantizer === 'string') {
      yield { claim: 'presets', threshold: 'llama.cpp is there', measured: quantizer, pass: false };
      return;
    }
    const folder = await mkdtemp(join(tmpdir(), 'compressa-presets-'));
    const tokenizer = await readFile(`${SAMPLE_MODEL}/tokenizer.json`);
    const bytes = await readFile(`${SAMPLE_MODEL}/validation.tokens.u16`);
    const windows = cutWindows(new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2), { windows: 4 });
    try {
      const models: Record<string, () => Promise<ModelFiles>> = { 'the sample model': () => nodeFolder(SAMPLE_MODEL) };
      for (const [name, differences] of Object.entries(SHAPES)) {
        const config = { ...COMMON, ...differences };
        const files = {
          'config.json': JSON.stringify(config),
          'tokenizer.json': tokenizer,
          'model.safetensors': await randomModel(config),
        };
        models[name] = async () => memoryFolder(name, files);
      }
      for (const [name, model] of Object.entries(models).filter(([name]) => takes(name))) {
        const { same, all, unlike } = await compareTypes(gpu, quantizer, model, folder);
        yield {
          claim: `${name}: types of tensors in the presets as llama.cpp’s quantizer writes them`,
          threshold: 'all',
          measured: [`${same} of ${all}`, ...unlike.slice(0, 3)].join('; '),
          pass: same === all && all > 0,
        };
      }
      for (const preset of SCORED.filter(takes)) {
        const path = join(folder, `${preset}.gguf`);
        await compress(await nodeFolder(SAMPLE_MODEL), await nodeFileSink(path), { gpu, format: preset });
        const theirs = await theirOpinion(path, windows, [0]);
        if (typeof theirs === 'string') {
          yield { claim: preset, threshold: 'llama.cpp is there', measured: theirs, pass: false };
          return;
        }
        yield perplexityClaim(preset, await ourOpinion(gpu, path, windows, [0]), theirs);
      }
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
};
