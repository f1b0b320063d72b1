import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { expect, test } from 'vitest';
import { CompressOutputSchema } from '../../../src/cli/output-schemas.ts';
import { runPrune } from '../../../src/cli/prune.ts';
import { ArgumentError, FormatError, RecipeError } from '../../../src/errors.ts';
import { openCliBench, running, SAMPLE } from '../cli-bench.ts';

const cli = openCliBench();

test('prune writes a model with zeros, and says how many', async () => {
  const out = join(cli.folder, 'half.gguf');
  await runPrune(SAMPLE, { out, pattern: '2:4', format: 'q8_0', json: true }, running);
  const report = JSON.parse(cli.printed);
  expect(report).toMatchObject({
    output: out,
    recipe: { rules: [{ role: 'linear', format: 'q8_0', prune: { pattern: '2:4' } }] },
    notices: [],
  });
  for (const { role, prune } of report.tensors) {
    if (role === 'linear') expect(prune).toMatchObject({ pattern: '2:4', score: 'magnitude', sparsity: 0.5 });
    else expect(prune).toBeUndefined();
  }
});

test('a dry run shows what would go, with pictures of masks, and writes nothing', async () => {
  const options = { out: join(cli.folder, 'none'), pattern: 'block:32x32:75%', format: 'keep', dryRun: true };
  await runPrune(SAMPLE, options, running);
  expect(cli.printed).toMatch(/linear +56 +f16, block:32x32:75%/);
  expect(cli.printed).toMatch(/choosing all takes about [\d.]+ s/);
  expect(cli.printed).toMatch(/layers\.0\.self_attn\.\w_proj\.weight, block:32x32:75%: 75\.00% would go\n[ ░▒▓█]+\n/);
  // Zeros that are not packed are multiplied like other weights.
  expect(cli.printed).toMatch(
    /Time of the products of a token on this device[^\n]+\n(.+\n)+ +all .* 100\.0% of the time/,
  );
  cli.printed = '';
  await runPrune(SAMPLE, { ...options, pattern: '30%@model', json: true }, running);
  const document = JSON.parse(cli.printed);
  expect(v.safeParse(CompressOutputSchema, document).issues).toBeUndefined();
  for (const { map, zeros } of document.masks) {
    expect(map).toHaveLength(16);
    expect(zeros).toBeGreaterThan(0);
  }
  const { products, milliseconds } = document.time;
  expect(milliseconds.after).toBe(milliseconds.before);
  // Seven matrices of each of eight layers, and the head.
  expect(products.flatMap(({ tensors }: { tensors: string[] }) => tensors)).toHaveLength(57);
  expect(await readdir(cli.folder)).not.toContain('none');
});

test('a dry run shows what channels are worth, and which would go', async () => {
  const options = { out: join(cli.folder, 'none'), pattern: 'ffn:25%', format: 'keep', dryRun: true };
  await runPrune(SAMPLE, options, running);
  expect(cli.printed).toMatch(/below where some are gone[^\n]+\n(ffn \d .+\n.+\n?){8}/);
  cli.printed = '';
  await runPrune(SAMPLE, { ...options, json: true }, running);
  const document = JSON.parse(cli.printed);
  expect(v.safeParse(CompressOutputSchema, document).issues).toBeUndefined();
  expect(document.shrink.map(({ removed }: { removed: number[] }) => removed.length)).toEqual(Array(8).fill(192));
});

test('a budget says how much goes', async () => {
  const options = { out: join(cli.folder, 'slim'), pattern: 'ffn', format: 'keep', keep: 12e6, json: true };
  await runPrune(SAMPLE, options, running);
  const { recipe, bytesAfter, notices } = JSON.parse(cli.printed);
  expect(recipe.shrink.pattern).toMatch(/^ffn:\d+$/);
  const { size } = await stat(join(options.out, 'model.safetensors'));
  expect(size).toBeLessThanOrEqual(12e6);
  expect(size).toBeGreaterThan(12e6 - 3 * 8 * 256 * 2);
  expect(bytesAfter).toBeLessThan(size);
  expect(notices.join()).toContain(`The budget takes ${recipe.shrink.pattern}: ${size} bytes of weights are left`);
  await expect(runPrune(SAMPLE, { ...options, budget: 'rows' }, running)).rejects.toThrow(/shrink\.budget/);
});

test('packed weights take less room, and say how they are stored', async () => {
  const out = join(cli.folder, 'packed');
  await runPrune(SAMPLE, { out, pattern: '2:4', format: 'q8_0', packed: true, json: true }, running);
  const report = JSON.parse(cli.printed);
  expect(v.safeParse(CompressOutputSchema, report).issues).toBeUndefined();
  const linear = report.tensors.filter(({ role }: { role: string }) => role === 'linear');
  for (const { format, shape, bytesAfter, prune } of linear) {
    expect(format).toBe('q8_0@2:4');
    expect(prune.sparsity).toBe(0.5);
    // Half of the weights at 8.5 bits, and two bits for each.
    expect(bytesAfter).toBe((shape[0] * shape[1] * (8.5 + 2)) / 16);
  }
  await expect(runPrune(SAMPLE, { out, pattern: 'ffn:25%', format: 'keep', packed: true }, running)).rejects.toThrow(
    '--packed is for N:M and block patterns',
  );
  const gguf = { out: join(cli.folder, 'packed.gguf'), pattern: '2:4', format: 'q8_0', packed: true };
  await expect(runPrune(SAMPLE, gguf, running)).rejects.toThrow('GGUF has no tensors for');
});

test('structures leave: the config of what is written says so', async () => {
  const out = join(cli.folder, 'slim');
  const pattern = 'heads:1,layers:1,ffn:25%';
  await runPrune(SAMPLE, { out, pattern, score: 'random', seed: '3', format: 'q8_0', json: true }, running);
  const report = JSON.parse(cli.printed);
  expect(v.safeParse(CompressOutputSchema, report).issues).toBeUndefined();
  expect(report.recipe).toMatchObject({ shrink: { pattern, score: 'random', seed: 3 } });
  const [before, after] = await Promise.all(
    [SAMPLE, out].map(async (folder) => JSON.parse(await readFile(join(folder, 'config.json'), 'utf8'))),
  );
  const groups = before.num_attention_heads / before.num_key_value_heads;
  expect(after).toMatchObject({
    num_hidden_layers: before.num_hidden_layers - 1,
    num_key_value_heads: before.num_key_value_heads - 1,
    num_attention_heads: before.num_attention_heads - groups,
    intermediate_size: 0.75 * before.intermediate_size,
  });
  const wrong = { out: join(cli.folder, 'none'), pattern: 'ffn:25%', format: 'keep' };
  await expect(runPrune(SAMPLE, { ...wrong, score: 'obs' }, running)).rejects.toThrow(/needs a calibration/);
  await expect(runPrune(SAMPLE, { ...wrong, layers: 'owl' }, running)).rejects.toThrow('--layers owl is for');
  await expect(runPrune(SAMPLE, { ...wrong, layers: 'sensitivty' }, running)).rejects.toThrow(
    /Did you mean "sensitivity"/,
  );
  await expect(runPrune(SAMPLE, { ...wrong, layers: 'sensitivity' }, running)).rejects.toThrow(/needs a calibration/);
  const calibration = 'models/union-7m/calibration.txt';
  const spread = { ...wrong, calibration, layers: 'sensitivity', windows: '2', window: '64' };
  const file = { ...spread, out: join(cli.folder, 'none.gguf') };
  await expect(runPrune(SAMPLE, file, running)).rejects.toThrow(
    /GGUF has one for all: leave the spread over layers out/,
  );
  cli.printed = '';
  await runPrune(SAMPLE, { ...spread, out: join(cli.folder, 'spread') }, running);
  expect(cli.printed).toMatch(/ffn +\d+ to \d+ of 768 in each of 8 layers/);
  const { intermediate_size: widths } = JSON.parse(await readFile(join(cli.folder, 'spread', 'config.json'), 'utf8'));
  expect(widths).toHaveLength(8);
  expect(widths.reduce((sum: number, width: number) => sum + width, 0)).toBe(8 * 0.75 * before.intermediate_size);
  await expect(runPrune(SAMPLE, { ...wrong, pattern: 'heads:99' }, running)).rejects.toThrow(/heads/);
  expect(await readdir(cli.folder)).not.toContain('none');
});

test('wrong options are refused before anything is read', async () => {
  const run = (more: object) =>
    runPrune(SAMPLE, { out: join(cli.folder, 'bad'), pattern: '2:4', format: 'keep', ...more }, running);
  await expect(run({ pattern: '4:4' })).rejects.toThrow(
    'The pruning: rules.0.prune: The pattern 4:4 keeps 4 of 4; keep 1 to 3.',
  );
  await expect(run({ score: 'wanda' })).rejects.toThrow(/The score wanda needs a calibration text \(--calibration/);
  await expect(run({ score: 'wander' })).rejects.toThrow(RecipeError);
  await expect(run({ format: 'q4' })).rejects.toThrow(FormatError);
  await expect(run({ calibration: 'a', statistics: 'b' })).rejects.toThrow(ArgumentError);
  expect(await readdir(cli.folder)).not.toContain('bad');
});
