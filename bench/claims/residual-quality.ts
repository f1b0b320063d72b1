import {
  compress,
  type Gpu,
  memoryFolder,
  memoryOutput,
  memorySink,
  type Recipe,
  type StatisticsSource,
  writeSafetensors,
} from 'compressa';
import type { Claim, Measurement } from '../claim.ts';
import { calibrationWindows, qualityOf, validationWindows } from '../model-quality.ts';
import { random } from '../random.ts';

/** Three bits with factors of rank 2 in f16, and three bits alone that take more. */
const RESIDUAL = { format: 'int3-g64', factorize: { residual: true, rank: 2 } };
const PLAIN = { format: 'int3-g32' };

/** Of the large layer. */
const SIDE = 4096;
const FFN = 32;
const RANK = 32;
const LEAST_FALL = 0.3;

/**
 * What factors of a quantized matrix's loss buy: the sample model at equal total bits, calibrated on calibration text only; and tr(ΔW H ΔWᵀ) of a layer of 4096 x 4096 whose weights and inputs have spectra that
 * decay, beside one where neither does.
 */
export const claim: Claim = {
  name: 'residual quality',
  async measure(gpu, takes) {
    const results: Measurement[] = [];
    if (takes('model')) results.push(await modelPair(gpu));
    if (takes('layer')) results.push(...(await largeLayer(gpu)));
    return results;
  },
};

async function modelPair(gpu: Gpu): Promise<Measurement> {
  const calibration = { windows: calibrationWindows() };
  const of = (rule: Rule) => qualityOf(gpu, { recipe: recipeOf(rule), calibration }, validationWindows());
  const [mine, plain] = [await of(RESIDUAL), await of(PLAIN)];
  return {
    claim: `${RESIDUAL.format} and factors of rank ${RESIDUAL.factorize.rank} in f16`,
    threshold: `below the perplexity of ${PLAIN.format}, at no more bits`,
    measured: `${mine.perplexity.toFixed(4)} at ${mine.bitsPerWeight.toFixed(3)} bits, beside ${plain.perplexity.toFixed(4)} at ${plain.bitsPerWeight.toFixed(3)}`,
    pass: mine.perplexity < plain.perplexity && mine.bitsPerWeight <= plain.bitsPerWeight,
  };
}

type Rule = Omit<Recipe['rules'][number], 'match' | 'role'>;
const recipeOf = (rule: Rule, match = '*'): Recipe => ({ version: 1, rules: [{ match, role: 'linear', ...rule }] });

/** A layer of a model, of which one matrix is compressed: what that loses with factors, and without. */
async function largeLayer(gpu: Gpu): Promise<Measurement[]> {
  const fall = async (decays: boolean) => {
    const lost = async (rule: Rule) => {
      const { files, statistics } = await layerModel(decays);
      const recipe = recipeOf(rule, NAME);
      const report = await compress(files, memoryOutput(), { gpu, recipe, statistics });
      const { error, factors } = report.tensors.find(({ name }) => name === NAME)!;
      return { plain: error!.chosen, all: factors?.error };
    };
    const found = await lost({ format: 'int3-g64', factorize: { residual: true, rank: RANK } });
    return { ...found, share: 1 - found.all! / found.plain };
  };
  const [decaying, flat] = [await fall(true), await fall(false)];
  const text = ({ plain, all, share }: typeof decaying) =>
    `${(100 * share).toFixed(1)}% (${plain.toExponential(3)} to ${all!.toExponential(3)})`;
  return [
    {
      claim: `${SIDE} x ${SIDE}, decaying spectra: fall of tr(ΔW H ΔWᵀ) of int3-g64 by rank ${RANK}`,
      threshold: `at least ${100 * LEAST_FALL}%`,
      measured: text(decaying),
      pass: decaying.share >= LEAST_FALL,
    },
    {
      claim: 'control: the same where neither spectrum decays',
      threshold: 'below 10%: 32 of 4096 directions',
      measured: text(flat),
      pass: flat.share < 0.1,
    },
  ];
}

const NAME = 'model.layers.0.self_attn.q_proj.weight';

/** One layer around a matrix; only what is needed of it is large. */
async function layerModel(decays: boolean) {
  const config = {
    architectures: ['LlamaForCausalLM'],
    ...{ hidden_size: SIDE, intermediate_size: FFN, num_hidden_layers: 1, num_attention_heads: 32 },
    ...{
      num_key_value_heads: 1,
      head_dim: 128,
      vocab_size: 32,
      max_position_embeddings: 64,
      tie_word_embeddings: true,
    },
  };
  const layer = 'model.layers.0.';
  const shapes: [string, number[]][] = [
    ['model.embed_tokens.weight', [32, SIDE]],
    ['model.norm.weight', [SIDE]],
    [`${layer}input_layernorm.weight`, [SIDE]],
    [`${layer}post_attention_layernorm.weight`, [SIDE]],
    [NAME, [SIDE, SIDE]],
    [`${layer}self_attn.k_proj.weight`, [128, SIDE]],
    [`${layer}self_attn.v_proj.weight`, [128, SIDE]],
    [`${layer}self_attn.o_proj.weight`, [SIDE, SIDE]],
    [`${layer}mlp.gate_proj.weight`, [FFN, SIDE]],
    [`${layer}mlp.up_proj.weight`, [FFN, SIDE]],
    [`${layer}mlp.down_proj.weight`, [SIDE, FFN]],
  ];
  const sink = memorySink();
  const specs = shapes.map(([name, shape]) => ({ name, shape, type: 'F32' as const }));
  const writer = await writeSafetensors(sink, specs);
  for (const { name, shape } of specs) {
    const count = shape.reduce((product, size) => product * size, 1);
    const values =
      name === NAME
        ? turned(decays ? 0.5 : 0, 11, 12)
        : new Float32Array(count).fill(name.includes('o_proj') ? 0.5 : 1);
    await writer.write(name, new Uint8Array(values.buffer));
  }
  await writer.finish();
  const files = memoryFolder('layer', { 'config.json': JSON.stringify(config), 'model.safetensors': sink.bytes() });
  return { files, statistics: statisticsOf(decays ? 1 : 0) };
}

/** H of inputs whose variances fall as 1 / i^power, in directions of their own. */
function statisticsOf(power: number): StatisticsSource {
  return {
    name: 'made up',
    columnsOf: (weight) => (weight.includes('down_proj') ? FFN : SIDE),
    async load(gpu) {
      const values = turned(power, 23, 23);
      const hessian = gpu.memory.allocate(values.byteLength, 'H');
      gpu.upload(hessian, new Uint8Array(values.buffer));
      const meanSquare = Float32Array.from({ length: SIDE }, (_, i) => values[i * SIDE + i]!);
      const roots = meanSquare.map(Math.sqrt);
      return {
        hessian: { buffer: hessian, size: values.byteLength },
        columns: async () => ({ meanSquare, meanAbs: roots, absMax: roots }),
        release: () => gpu.memory.release(hessian),
      };
    },
  };
}

/** L diag(1 / i^power) Rᵀ with orthogonal L and R, which are Hadamard matrices behind random signs, twice. */
function turned(power: number, left: number, right: number): Float32Array<ArrayBuffer> {
  const values = new Float32Array(SIDE * SIDE);
  for (let i = 0; i < SIDE; i++) values[i * SIDE + i] = (i + 1) ** -power;
  turnRows(values, right);
  transpose(values);
  turnRows(values, left);
  transpose(values);
  return values;
}

function turnRows(values: Float32Array, seed: number): void {
  for (let round = 0; round < 2; round++) {
    const next = random(seed + 100 * round);
    const signs = Float32Array.from({ length: SIDE }, () => (next() < 0.5 ? -1 : 1) / Math.sqrt(SIDE));
    for (let row = 0; row < SIDE; row++) {
      const x = values.subarray(row * SIDE, (row + 1) * SIDE);
      for (let i = 0; i < SIDE; i++) x[i]! *= signs[i]!;
      for (let half = 1; half < SIDE; half *= 2) {
        for (let start = 0; start < SIDE; start += 2 * half) {
          for (let i = start; i < start + half; i++) {
            const [a, b] = [x[i]!, x[i + half]!];
            x[i] = a + b;
            x[i + half] = a - b;
          }
        }
      }
    }
  }
}

function transpose(values: Float32Array): void {
  for (let i = 0; i < SIDE; i++) {
    for (let j = 0; j < i; j++) {
      const held = values[i * SIDE + j]!;
      values[i * SIDE + j] = values[j * SIDE + i]!;
      values[j * SIDE + i] = held;
    }
  }
}
