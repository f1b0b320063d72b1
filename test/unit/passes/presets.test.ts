import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { FormatError, RecipeError } from '../../../src/errors.ts';
import { architectureOf } from '../../../src/files/gguf/architectures.ts';
import { nodeFolder, openPath } from '../../../src/files/node-files.ts';
import { graphOf } from '../../../src/models/families.ts';
import { planCompression } from '../../../src/passes/compress.ts';
import { ggmlPresets } from '../../../src/passes/presets/ggml-presets.ts';
import { expandPreset, presetByName } from '../../../src/passes/presets/preset-recipe.ts';
import { compileRecipe, MAX_RULES } from '../../../src/passes/recipe.ts';

const SAMPLE = fileURLToPath(new URL('../../../models/union-7m/', import.meta.url));
const sample = JSON.parse(readFileSync(`${SAMPLE}config.json`, 'utf8'));

/** The format of each matrix of a model by its name, without the common parts of names. */
function formatsOf(preset: string, config: { architectures: string[] }): Map<string, string | undefined> {
  const graph = graphOf(config, 'config.json');
  const decide = compileRecipe(expandPreset(presetByName(preset)!, graph, architectureOf(config)));
  const matrices = graph.weights.filter(({ shape }) => shape.length === 2);
  const short = (name: string) => name.replace(/^model\.(layers\.)?|self_attn\.|mlp\.|\.weight$/g, '');
  return new Map(matrices.map(({ name, role }) => [short(name), decide(name, role)?.format?.name]));
}

/** Layers in which a part has a format. */
const layersWith = (formats: Map<string, string | undefined>, part: string, format: string): number[] =>
  [...formats].flatMap(([name, each]) => (each === format && name.endsWith(part) ? [Number.parseInt(name, 10)] : []));

const range = (from: number, to: number, step = 1): number[] =>
  Array.from({ length: Math.ceil((to - from) / step) }, (_, i) => from + i * step);

// Expectations follow llama_tensor_get_type_impl and tensor_type_fallback in llama.cpp's src/llama-quant.cpp, commit 007dbbf.

describe('the sample model: 8 layers, two queries to a key, head and embedding in one', () => {
  const eight = range(0, 8);
  const cases: Record<
    string,
    { base: string; v: Record<string, number[]>; down: Record<string, number[]>; o: string }
  > = {
    Q2_K: { base: 'q2_k', v: { q3_k: eight }, down: { q3_k: eight }, o: 'q3_k' },
    Q2_K_S: { base: 'q2_k', v: { q2_k: eight }, down: { q4_k: [0], q2_k: range(1, 8) }, o: 'q2_k' },
    Q3_K_S: { base: 'q3_k', v: { q3_k: eight }, down: { q3_k: eight }, o: 'q3_k' },
    Q3_K_M: { base: 'q3_k', v: { q5_k: [0, 1], q4_k: range(2, 8) }, down: { q4_k: eight }, o: 'q4_k' },
    Q3_K_L: { base: 'q3_k', v: { q5_k: eight }, down: { q5_k: eight }, o: 'q5_k' },
    Q4_K_S: {
      base: 'q4_k',
      v: { q5_k: range(0, 4), q4_k: range(4, 8) },
      down: { q5_k: [0], q4_k: range(1, 8) },
      o: 'q4_k',
    },
    Q4_K_M: {
      base: 'q4_k',
      v: { q6_k: [0, 3, 6, 7], q4_k: [1, 2, 4, 5] },
      down: { q6_k: [0, 3, 6, 7], q4_k: [1, 2, 4, 5] },
      o: 'q4_k',
    },
    Q5_K_S: { base: 'q5_k', v: { q5_k: eight }, down: { q5_k: eight }, o: 'q5_k' },
    Q5_K_M: {
      base: 'q5_k',
      v: { q6_k: [0, 3, 6, 7], q5_k: [1, 2, 4, 5] },
      down: { q6_k: [0, 3, 6, 7], q5_k: [1, 2, 4, 5] },
      o: 'q5_k',
    },
    Q6_K: { base: 'q6_k', v: { q6_k: eight }, down: { q6_k: eight }, o: 'q6_k' },
  };

  test('all presets are here', () => {
    expect(ggmlPresets.map(({ name }) => name).sort()).toEqual(Object.keys(cases).sort());
  });

  test.each(Object.entries(cases))('%s', (preset, { base, v, down, o }) => {
    const formats = formatsOf(preset, sample);
    expect(formats.size).toBe(1 + 8 * 7);
    expect(formats.get('embed_tokens')).toBe('q6_k');
    for (const part of ['q_proj', 'k_proj', 'gate_proj', 'up_proj']) {
      expect(layersWith(formats, part, base), part).toEqual(eight);
    }
    expect(layersWith(formats, 'o_proj', o)).toEqual(eight);
    for (const [part, wanted] of [
      ['v_proj', v],
      ['down_proj', down],
    ] as const) {
      for (const [format, layers] of Object.entries(wanted)) {
        expect(layersWith(formats, part, format), `${part} ${format}`).toEqual(layers);
      }
    }
  });
});

describe('32 layers, four queries to a key, head apart', () => {
  const config = {
    ...sample,
    num_hidden_layers: 32,
    num_attention_heads: 8,
    num_key_value_heads: 2,
    head_dim: 32,
    tie_word_embeddings: false,
  };
  const favoured = [...range(0, 4), ...range(6, 28, 3), ...range(28, 32)];

  test('the head has six bits, the embedding what most matrices have', () => {
    for (const { name, base } of ggmlPresets) {
      const formats = formatsOf(name, config);
      expect([formats.get('lm_head'), formats.get('embed_tokens')], name).toEqual(['q6_k', base]);
    }
  });

  test('parts of the layers', () => {
    expect(layersWith(formatsOf('Q4_K_M', config), 'v_proj', 'q6_k')).toEqual(favoured);
    expect(layersWith(formatsOf('Q5_K_M', config), 'down_proj', 'q6_k')).toEqual(favoured);
    expect(layersWith(formatsOf('Q4_K_S', config), 'down_proj', 'q5_k')).toEqual(range(0, 4));
    expect(layersWith(formatsOf('Q3_K_M', config), 'down_proj', 'q5_k')).toEqual([0, 1]);
    expect(layersWith(formatsOf('Q2_K_S', config), 'down_proj', 'q4_k')).toEqual(range(0, 4));
  });

  test('values that four heads share have more bits', () => {
    expect(layersWith(formatsOf('Q2_K', config), 'v_proj', 'q4_k')).toEqual(range(0, 32));
    expect(layersWith(formatsOf('Q2_K_S', config), 'v_proj', 'q4_k')).toEqual(range(0, 32));
  });
});

test('values of models that llama.cpp takes for 70 billion weights have five bits for three or four', () => {
  const config = { ...sample, num_hidden_layers: 80 };
  const values = (preset: string, change: object) => {
    const formats = formatsOf(preset, { ...config, ...change });
    return ['q3_k', 'q4_k', 'q5_k', 'q6_k'].map((format) => layersWith(formats, 'v_proj', format).length);
  };
  // Ten layers at each end and every third of the sixty between.
  expect(values('Q4_K_M', {})).toEqual([0, 0, 40, 40]);
  expect(values('Q3_K_S', {})).toEqual([0, 0, 80, 0]);
  expect(values('Q2_K', {})).toEqual([0, 0, 80, 0]);
  const alike = { num_key_value_heads: 4 };
  expect(values('Q4_K_M', alike)).toEqual([0, 40, 0, 40]);
  expect(values('Q4_K_M', { ...alike, architectures: ['Qwen2ForCausalLM'] })).toEqual([0, 0, 40, 40]);
  expect(values('Q4_K_M', { architectures: ['Qwen3ForCausalLM'] })).toEqual([0, 40, 0, 40]);
});

test('rows that a block does not divide fall back as in llama.cpp', () => {
  // As Qwen2 of half a billion weights has them.
  const config = {
    ...sample,
    architectures: ['Qwen2ForCausalLM'],
    hidden_size: 896,
    intermediate_size: 4864,
    num_hidden_layers: 24,
    num_attention_heads: 14,
    num_key_value_heads: 2,
  };
  const four = formatsOf('Q4_K_M', config);
  expect(four.get('embed_tokens')).toBe('q8_0');
  expect(['0.q_proj', '0.v_proj', '3.v_proj', '0.down_proj', '3.down_proj'].map((name) => four.get(name))).toEqual([
    'q5_0',
    'q8_0',
    'q5_0',
    'q6_k',
    'q4_k',
  ]);
  expect(formatsOf('Q2_K', config).get('0.q_proj')).toBe('q4_0');
  expect(formatsOf('Q3_K_S', config).get('0.q_proj')).toBe('q4_0');
  expect(formatsOf('Q5_K_S', config).get('0.q_proj')).toBe('q5_1');
  expect(formatsOf('Q4_K_M', { ...config, intermediate_size: 4880 }).get('3.down_proj')).toBe('f16');
});

test('rules stay within what a recipe may have, however many layers there are', () => {
  const graph = graphOf({ ...sample, num_hidden_layers: 400 }, 'config.json');
  const recipe = expandPreset(presetByName('Q4_K_S')!, graph, architectureOf(sample));
  expect(recipe.rules.length).toBeGreaterThan(3);
  for (const { match } of recipe.rules) expect(match.length).toBeLessThanOrEqual(MAX_RULES);
  expect(compileRecipe(recipe)('model.layers.399.mlp.up_proj.weight', 'linear')?.format?.name).toBe('q4_k');
});

test('names: capitals or not, but a format is meant where it has the same name', () => {
  expect(presetByName('Q4_K_M')?.fileType).toBe(15);
  expect(presetByName('q4_k_m')?.fileType).toBe(15);
  expect(presetByName('Q6_K')?.fileType).toBe(18);
  for (const name of ['q6_k', 'q2_k', 'q4_0', 'Q4_0', 'int4', 'keep', 'Q4_K_X', '']) {
    expect(presetByName(name), name).toBeUndefined();
  }
});

test('a plan takes a preset in place of a format, and says what each tensor gets', async () => {
  const { tensors, notices } = await planCompression(await nodeFolder(SAMPLE), { format: 'q4_k_m' });
  const format = (name: string) => tensors.find((tensor) => tensor.name === name)?.format;
  expect(format('model.embed_tokens.weight')).toBe('q6_k');
  expect(format('model.layers.0.mlp.down_proj.weight')).toBe('q6_k');
  expect(format('model.layers.1.mlp.down_proj.weight')).toBe('q4_k');
  expect(format('model.layers.1.input_layernorm.weight')).toBe('f16');
  expect(notices).toEqual([]);
  await expect(planCompression(await nodeFolder(SAMPLE), { format: 'Q4_K_X' })).rejects.toThrow(FormatError);
});

test('bare tensors have no parts that a preset could go by', async () => {
  const bare = openPath(`${SAMPLE}model.safetensors`);
  const output = { output: 'safetensors' as const };
  await expect(planCompression(await bare, { format: 'Q4_K_M', ...output })).rejects.toThrow(RecipeError);
});
