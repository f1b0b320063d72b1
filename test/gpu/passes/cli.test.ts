import { existsSync } from 'node:fs';
import { cp, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Command } from 'commander';
import { expect, test, vi } from 'vitest';
import { registerCompress, runCompress } from '../../../src/cli/compress.ts';
import { registerInspect, runInspect } from '../../../src/cli/inspect.ts';
import { registerRun, runModel } from '../../../src/cli/run.ts';
import { ArgumentError, CancelledError, FileError, ModelError, RecipeError } from '../../../src/errors.ts';
import { nodeFileSink } from '../../../src/files/node-sink.ts';
import { writeSafetensors } from '../../../src/files/safetensors-write.ts';
import { openCliBench, running, SAMPLE } from '../cli-bench.ts';

const cli = openCliBench();

test('compress writes a model, and inspect shows it and its values', async () => {
  const out = join(cli.folder, 'deeper', 'q4');
  await runCompress(SAMPLE, { out, format: 'q4_0', json: true }, running);
  const report = JSON.parse(cli.printed);
  expect(report).toMatchObject({ version: 1, output: out, recipe: { rules: [{ format: 'q4_0' }] }, notices: [] });
  expect(report.bytesAfter).toBeLessThan(report.bytesBefore);
  expect((await readdir(out)).sort()).toEqual([
    'config.json',
    'model.safetensors',
    'tokenizer.json',
    'tokenizer_config.json',
  ]);

  cli.printed = '';
  await runInspect(out, { json: true, histogram: '*.layers.0.mlp.down_proj.*' }, running);
  const seen = JSON.parse(cli.printed);
  expect(seen.bytes).toBe(report.bytesAfter);
  const withValues = seen.tensors.filter((tensor: { values?: unknown }) => tensor.values);
  expect(withValues).toHaveLength(1);
  expect(withValues[0]).toMatchObject({ format: 'q4_0', bitsPerWeight: 4.5, shape: [256, 768] });
  const { values } = withValues[0];
  expect(values.histogram.reduce((a: number, b: number) => a + b)).toBe(256 * 768);
  expect(values.min).toBeLessThan(values.mean);
  expect(values.max).toBeGreaterThan(values.mean);

  cli.printed = '';
  await runInspect(out, { histogram: 'model.norm.*' }, running);
  expect(cli.printed).toMatch(/model\.norm\.weight\n {2}values +\|.*█.*\|/);

  await expect(runCompress(SAMPLE, { out }, running)).rejects.toThrow(FileError);
  await expect(runInspect(out, { histogram: 'nothing' }, running)).rejects.toThrow(ArgumentError);
});

test('inspect shows the values of floats of eight bits as they are stored', async () => {
  const path = join(cli.folder, 'f8.safetensors');
  const sink = await nodeFileSink(path);
  const writer = await writeSafetensors(sink, [{ name: 'w', type: 'F8_E4M3', shape: [2, 32] }]);
  // 1 and -2, by the table of E4M3.
  await writer.write(
    'w',
    Uint8Array.from({ length: 64 }, (_, i) => (i % 2 ? 0xc0 : 0x38)),
  );
  await writer.finish();
  await runInspect(path, { json: true, histogram: '*' }, running);
  expect(JSON.parse(cli.printed).tensors).toMatchObject([{ values: { min: -2, max: 1, mean: -0.5, std: 1.5 } }]);
});

test('the ending of the output chooses what is written, and a GGUF file is taken for a model', async () => {
  const gguf = join(cli.folder, 'q4.gguf');
  await runCompress(SAMPLE, { out: gguf, format: 'q4_0' }, running);
  await runCompress(gguf, { out: join(cli.folder, 'folder'), format: 'keep' }, running);
  await runCompress(gguf, { out: join(cli.folder, 'file.safetensors'), format: 'keep' }, running);
  expect((await readdir(join(cli.folder, 'folder'))).sort()).toEqual([
    'config.json',
    'model.safetensors',
    'tokenizer.json',
    'tokenizer_config.json',
  ]);
  const seen: unknown[] = [];
  for (const model of [gguf, join(cli.folder, 'folder'), join(cli.folder, 'file.safetensors')]) {
    cli.printed = '';
    await runInspect(model, { json: true, histogram: '*.layers.0.self_attn.q_proj.*' }, running);
    const { tensors, bytes } = JSON.parse(cli.printed);
    seen.push({ tensors, bytes });
  }
  expect(seen[1]).toEqual(seen[0]);
  expect(seen[2]).toEqual(seen[0]);
  // What is compressed already is not compressed again.
  await expect(runCompress(gguf, { out: join(cli.folder, 'q8.gguf'), format: 'q8_0' }, running)).rejects.toThrow(
    /already compressed/,
  );
  cli.printed = '';
  await runModel(gguf, { ...prompted, json: true }, running);
  expect(JSON.parse(cli.printed)).toMatchObject({ model: gguf, reason: 'max-tokens' });
});

test('weights are cut into files of the size that is wanted, which every command reads', async () => {
  const out = join(cli.folder, 'shards');
  await runCompress(SAMPLE, { out, format: 'q4_0', shardSize: 2_000_000, resume: true }, running);
  expect(await readdir(cli.folder)).toEqual(['shards']);
  expect((await readdir(out)).sort()).toEqual([
    'config.json',
    'model-00001-of-00003.safetensors',
    'model-00002-of-00003.safetensors',
    'model-00003-of-00003.safetensors',
    'model.safetensors.index.json',
    'tokenizer.json',
    'tokenizer_config.json',
  ]);
  cli.printed = '';
  await runModel(out, { ...prompted, json: true }, running);
  expect(JSON.parse(cli.printed)).toMatchObject({ model: out, reason: 'max-tokens' });
  await expect(
    runCompress(SAMPLE, { out: `${out}.gguf`, format: 'q4_0', shardSize: 2_000_000 }, running),
  ).rejects.toThrow(ArgumentError);
});

test('a dry run says what would be done and writes nothing', async () => {
  const out = join(cli.folder, 'q8');
  await runCompress(SAMPLE, { out, format: 'q8_0', dryRun: true }, running);
  expect(cli.printed).toMatch(/linear +56 +q8_0/);
  expect(cli.printed).toContain('Memory (estimates)');
  expect(existsSync(out)).toBe(false);
});

test('what is wrong with the command line is said before anything is written', async () => {
  const out = join(cli.folder, 'out');
  const recipe = join(cli.folder, 'recipe.json');
  await writeFile(recipe, '{"version": 1, "rule": []}');
  await expect(runCompress(SAMPLE, { out, recipe }, running)).rejects.toThrow(RecipeError);
  await expect(runCompress(SAMPLE, { out, recipe, format: 'q4_0' }, running)).rejects.toThrow(ArgumentError);
  // A file of bare tensors is no model.
  const file = join(cli.folder, 'tensors.safetensors');
  await cp(join(SAMPLE, 'model.safetensors'), file);
  await expect(runCompress(file, { out }, running)).rejects.toThrow(ArgumentError);
  await expect(runCompress(file, { out: `${out}.gguf` }, running)).rejects.toThrow(ArgumentError);
  await rm(file);
  await expect(runCompress(SAMPLE, { out: `${out}.gguf`, format: 'int4-g64' }, running)).rejects.toThrow(
    /GGUF file can't hold int4-g64; it can hold f32, f16, .*q8_0/,
  );
  await expect(runCompress(SAMPLE, { out, format: 'q4_9' }, running)).rejects.toThrow(/Did you mean "q4_0"/);
  await expect(runCompress(join(cli.folder, 'none'), { out: `${out}.safetensors` }, running)).rejects.toThrow(
    FileError,
  );
  expect(await readdir(cli.folder)).toEqual(['recipe.json']);
});

test('a cancelled command leaves nothing behind', async () => {
  const out = join(cli.folder, 'out');
  const controller = new AbortController();
  const run = runCompress(SAMPLE, { out }, controller);
  setTimeout(() => controller.abort(), 5);
  await expect(run).rejects.toThrow(CancelledError);
  expect(await readdir(cli.folder)).toEqual([]);
});

const prompted = { prompt: 'My fellow citizens', maxTokens: 5, temperature: 0, topK: 0, topP: 1, seed: 0 };

test('run writes the text as it comes, or one document', async () => {
  await runModel(SAMPLE, { ...prompted, json: true }, running);
  const document = JSON.parse(cli.printed);
  expect(document).toMatchObject({ version: 1, model: SAMPLE, prompt: prompted.prompt, reason: 'max-tokens' });
  expect(document.tokens).toHaveLength(5);
  expect(document.tokensPerSecond).toBeGreaterThan(0);

  cli.printed = '';
  await runModel(SAMPLE, prompted, running);
  expect(cli.printed).toBe(`${document.text}\n`);
});

test('run says what is wrong before it opens the GPU', async () => {
  // An adapter that is not there: opening the GPU would fail, too.
  const adapter = 'no such adapter';
  await cp(SAMPLE, cli.folder, { recursive: true });
  await rm(join(cli.folder, 'tokenizer.json'));
  await expect(runModel(cli.folder, { ...prompted, adapter }, running)).rejects.toThrow(ModelError);
  await expect(runModel(SAMPLE, { ...prompted, adapter, topP: 0 }, running)).rejects.toThrow(ArgumentError);

  const refused = (...args: string[]) => {
    const program = new Command().exitOverride().configureOutput({ writeErr: () => undefined });
    registerRun(program);
    return program.parseAsync(['run', SAMPLE, '--prompt', 'x', ...args], { from: 'user' });
  };
  await expect(refused('--max-tokens', '0')).rejects.toThrow(/max-tokens.*whole number, 1 or more/);
  await expect(refused('--max-tokens', '1.5')).rejects.toThrow(/max-tokens/);
  await expect(refused('--top-k', '-1')).rejects.toThrow(/top-k/);
  await expect(refused('--seed', '4294967296')).rejects.toThrow(/seed.*0 to 4294967295/);
});

test('a cancelled run says what was cancelled', async () => {
  const controller = new AbortController();
  // The first piece of text cancels the rest.
  vi.mocked(process.stdout.write).mockImplementation((_text, ...rest) => {
    controller.abort();
    for (const callback of rest) if (typeof callback === 'function') callback();
    return true;
  });
  const run = runModel(SAMPLE, { ...prompted, maxTokens: 40 }, controller);
  await expect(run).rejects.toThrow(new CancelledError('Generating text'));
});

test('help has examples and every format', () => {
  const program = new Command().exitOverride();
  registerCompress(program);
  registerInspect(program);
  registerRun(program);
  for (const [name, word] of [
    ['compress', 'int4-g128-asym'],
    ['inspect', '--histogram'],
    ['run', '--max-tokens'],
  ] as const) {
    cli.printed = '';
    program.commands.find((command) => command.name() === name)!.outputHelp();
    expect(cli.printed).toContain('Examples:');
    expect(cli.printed).toContain(word);
  }
});
