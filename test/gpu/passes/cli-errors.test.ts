import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { runCalibrate } from '../../../src/cli/calibrate.ts';
import { runCompress } from '../../../src/cli/compress.ts';
import { runModel } from '../../../src/cli/run.ts';
import { runVerify } from '../../../src/cli/verify.ts';
import { ArgumentError, FileError, FormatError, NoDeviceError, OutOfMemoryError } from '../../../src/errors.ts';
import { writeSafetensors } from '../../../src/files/safetensors-write.ts';
import { memorySink } from '../../../src/files/sink.ts';
import { openCliBench, running, SAMPLE } from '../cli-bench.ts';

const WEIGHTS = join(SAMPLE, 'model.safetensors');
/** Opening the GPU fails, so what is said in its place came before. */
const adapter = 'no such adapter';

const cli = openCliBench();

describe('--gpu-memory', () => {
  test('bounds what compress takes, and where that is too little, nothing is left', async () => {
    const recipe = await recipeFile('*embed*', 'q8_0');
    const out = join(cli.folder, 'deeper', 'out');
    // Eight rows of the embedding take 4 KB, and twice 2 KB as q8_0.
    const run = runCompress(SAMPLE, { out, gpuMemory: 7000, recipe }, running);
    await expect(run).rejects.toThrow(OutOfMemoryError);
    await expect(run).rejects.toThrow(/the budget is 7000 bytes\. Raise it \(--gpu-memory/);
    expect(await readdir(cli.folder)).toEqual(['recipe.json']);
    await runCompress(SAMPLE, { out, gpuMemory: 12000, recipe }, running);
  });

  test('bounds what run and verify take', async () => {
    const prompted = { prompt: 'My', maxTokens: 2, temperature: 0, topK: 0, topP: 1, seed: 0 };
    // Verification takes the model in pieces, so that only what a single weight exceeds is too little.
    const gpuMemory = 1e5;
    await expect(runModel(SAMPLE, { ...prompted, gpuMemory }, running)).rejects.toThrow(/Raise it \(--gpu-memory/);
    const text = join(SAMPLE, 'validation.txt');
    const verified = runVerify(SAMPLE, undefined, { text, windows: '1', gpuMemory }, running);
    await expect(verified).rejects.toThrow(OutOfMemoryError);
    await expect(verified).rejects.toThrow(/Raise it \(--gpu-memory/);
  });
});

async function recipeFile(match: string, format: string): Promise<string> {
  const path = join(cli.folder, 'recipe.json');
  await writeFile(
    path,
    JSON.stringify({
      version: 1,
      rules: [
        { match: 'none', format: 'f16' },
        { match, format },
      ],
    }),
  );
  return path;
}

test('a calibration text of less than a window is refused before the GPU opens, and nothing is left', async () => {
  const calibration = join(cli.folder, 'short.txt');
  await writeFile(calibration, 'Fourscore and seven years ago');
  const out = join(cli.folder, 'out');
  const run = runCompress(SAMPLE, { out, adapter, format: 'int4-g64', method: 'gptq', calibration }, running);
  await expect(run).rejects.toThrow(ArgumentError);
  await expect(run).rejects.toThrow(/fewer than one window of 256\. Give more text or a smaller --window/);
  const statistics = join(cli.folder, 'statistics.safetensors');
  await expect(runCalibrate(SAMPLE, { out: statistics, adapter, text: calibration }, running)).rejects.toThrow(
    ArgumentError,
  );
  expect(await readdir(cli.folder)).toEqual(['short.txt']);
});

describe('an output that can not be', () => {
  test.each(['out', 'out.safetensors', 'out.gguf'])('%s under a file is refused before the GPU opens', async (name) => {
    await writeFile(join(cli.folder, 'file'), '');
    const run = runCompress(SAMPLE, { out: join(cli.folder, 'file', name), adapter }, running);
    await expect(run).rejects.toThrow(FileError);
    await expect(run).rejects.toThrow(/file is a file, not a folder\. Choose another target/);
  });

  test('what is there already is refused before the GPU opens', async () => {
    await mkdir(join(cli.folder, 'out'));
    const run = runCompress(SAMPLE, { out: join(cli.folder, 'out'), adapter }, running);
    await expect(run).rejects.toThrow(/it exists\. Choose another name/);
  });

  test.runIf(process.platform === 'linux')('a system that takes no folders is no reason to wait for ever', async () => {
    await expect(runCompress(SAMPLE, { out: '/proc/compressa/out', adapter }, running)).rejects.toThrow(FileError);
    const report = '/proc/compressa/report.json';
    await expect(runVerify(WEIGHTS, WEIGHTS, { report, adapter }, running)).rejects.toThrow(FileError);
  });

  test('neither it nor its folders are left where the GPU fails', async () => {
    const out = join(cli.folder, 'deeper', 'out');
    await expect(runCompress(SAMPLE, { out, adapter }, running)).rejects.toThrow(NoDeviceError);
    const report = join(cli.folder, 'deeper', 'report.json');
    await expect(runVerify(WEIGHTS, WEIGHTS, { report, adapter }, running)).rejects.toThrow(NoDeviceError);
    expect(await readdir(cli.folder)).toEqual([]);
  });
});

test('a wrong format in a recipe is found in its file', async () => {
  const recipe = await recipeFile('*', 'q4_9');
  const run = runCompress(SAMPLE, { out: join(cli.folder, 'out'), recipe, adapter }, running);
  await expect(run).rejects.toThrow(FormatError);
  await expect(run).rejects.toThrow(/recipe\.json: rules\.1\.format: There is no format "q4_9"/);
});

test('a file without tensors is not said to be smaller', async () => {
  const sink = memorySink();
  await (await writeSafetensors(sink, [], {})).finish();
  const empty = join(cli.folder, 'empty.safetensors');
  await writeFile(empty, sink.bytes());
  await runCompress(empty, { out: join(cli.folder, 'out.safetensors') }, running);
  expect(cli.printed).toMatch(/after +0 B \(there are no weights\)/);
  expect(cli.printed).not.toContain('times');
});

test('what a format makes larger is said to be larger', async () => {
  const out = join(cli.folder, 'out.safetensors');
  await runCompress(WEIGHTS, { out, format: 'f32', dryRun: true }, running);
  expect(cli.printed).toMatch(/\(1\.\d\d times larger\)/);
});
