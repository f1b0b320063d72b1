import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { ArgumentError, FormatError, RecipeError } from '../../../src/errors.ts';
import { memoryFolder } from '../../../src/files/model-files.ts';
import { writeSafetensors } from '../../../src/files/safetensors-write.ts';
import { memorySink } from '../../../src/files/sink.ts';
import { graphOf } from '../../../src/models/families.ts';
import { planCompression } from '../../../src/passes/compress.ts';
import type { RecipeOptions } from '../../../src/passes/compress-options.ts';

const SAMPLE = fileURLToPath(new URL('../../../models/union-7m/', import.meta.url));
const config = {
  ...JSON.parse(readFileSync(`${SAMPLE}config.json`, 'utf8')),
  hidden_size: 32,
  intermediate_size: 96,
  num_hidden_layers: 3,
  num_attention_heads: 1,
  num_key_value_heads: 1,
  head_dim: 32,
  vocab_size: 8,
};

/** A model of three layers and more tensors, with another config. */
async function model(change: object = {}, more: Readonly<Record<string, readonly number[]>> = {}) {
  const weights = graphOf(config, 'config.json').weights.map(({ name, shape }) => [name, shape] as const);
  const specs = [...weights, ...Object.entries(more)].map(([name, shape]) => ({ name, type: 'F32' as const, shape }));
  const sink = memorySink();
  const writer = await writeSafetensors(sink, specs, { format: 'pt' });
  for (const { name, shape } of specs) await writer.write(name, new Uint8Array(4 * shape.reduce((a, b) => a * b, 1)));
  await writer.finish();
  return memoryFolder('model', {
    'config.json': JSON.stringify({ ...config, ...change }),
    'model.safetensors': sink.bytes(),
  });
}

const noticesOf = async (...of: Parameters<typeof model>) => (await planCompression(await model(...of))).notices;

describe('tensors that the config has no use for', () => {
  test('of more layers than it says are counted', async () => {
    expect(await noticesOf()).toEqual([]);
    expect(await noticesOf({ num_hidden_layers: 1 })).toEqual([
      '18 tensors are used by nothing in the config, such as "model.layers.1.input_layernorm.weight": ' +
        'is num_hidden_layers (1) in config.json right?',
    ]);
  });

  test('of another kind are named', async () => {
    expect(await noticesOf({}, { 'model.layers.0.self_attn.q_proj.bias': [32] })).toEqual([
      '1 tensor is used by nothing in the config, such as "model.layers.0.self_attn.q_proj.bias": does config.json belong to this checkpoint?',
    ]);
  });

  test('that are known to be of no use are not worth a word', async () => {
    const extras = { 'model.layers.0.self_attn.rotary_emb.inv_freq': [16], 'lm_head.weight': [8, 32] };
    expect(await noticesOf({}, extras)).toEqual([]);
  });
});

describe('what a library is given', () => {
  const planned = async (options: unknown) => planCompression(await model(), options as RecipeOptions);

  test('a recipe is held to its schema, as a file is', async () => {
    const wrong = planned({ recipe: { version: 1, rules: [{ match: '*', formta: 'q4_0' }] } });
    await expect(wrong).rejects.toThrow(RecipeError);
    await expect(wrong).rejects.toThrow(/unknown key "formta" in rules\.0\. Did you mean "format"\?/);
    const short = planned({ recipe: { version: 1, rules: [{ match: '*', fmt: 'q4_0' }] } });
    await expect(short).rejects.toThrow(/unknown key "fmt" in rules\.0\. Known: match, role, format/);
    for (const recipe of [null, {}, [], 'q4_0', { version: 1 }, { version: 2, rules: [] }]) {
      await expect(planned({ recipe })).rejects.toThrow(RecipeError);
    }
    const unknown = planned({ recipe: { version: 1, rules: [{ match: '*', format: 'q4_9' }] } });
    await expect(unknown).rejects.toThrow(FormatError);
    await expect(unknown).rejects.toThrow(/rules\.0\.format: .*Did you mean "q4_0"/);
  });

  test('a recipe that compresses nothing is said to, unless it was asked for that', async () => {
    expect((await planned({ recipe: { version: 1, rules: [] } })).notices).toEqual(['No matrix was compressed.']);
    expect((await planned({ format: 'keep' })).notices).toEqual([]);
    await expect(planned({ format: '' })).rejects.toThrow(ArgumentError);
  });
});
