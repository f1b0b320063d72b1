import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as v from 'valibot';
import { afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { runCompress } from '../../src/cli/compress.ts';
import { EXIT } from '../../src/cli/exit-codes.ts';
import { reportNames, runVerify, type VerifyCommandOptions } from '../../src/cli/verify.ts';
import { ArgumentError, CancelledError, FileError, ModelError } from '../../src/errors.ts';
import { nodeFileSink } from '../../src/files/node-sink.ts';
import { writeSafetensors } from '../../src/files/safetensors-write.ts';
import { ReportSchema } from '../../src/verify/report.ts';
import { openTestGpu } from './open-test-gpu.ts';

const SAMPLE = fileURLToPath(new URL('../../models/union-7m', import.meta.url));
const TEXT = join(SAMPLE, 'validation.txt');
const running = { signal: new AbortController().signal };

let shared: string;
let q4: string;
let folder: string;
let printed: string;
let said: string;
beforeAll(async () => {
  // Keeps Dawn's entry object reachable for the commands, which open their own device.
  (await openTestGpu()).close();
  shared = await mkdtemp(join(tmpdir(), 'compressa-verify-'));
  q4 = join(shared, 'q4');
  vi.spyOn(process.stdout, 'write').mockImplementation(take);
  await runCompress(SAMPLE, { out: q4, format: 'q4_0' }, running);
  return () => rm(shared, { recursive: true, force: true });
});
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'compressa-verify-'));
  printed = '';
  said = '';
  vi.spyOn(console, 'error').mockImplementation((line) => {
    said += `${line}\n`;
  });
  vi.spyOn(process.stdout, 'write').mockImplementation(take);
});
afterEach(async () => {
  vi.restoreAllMocks();
  await rm(folder, { recursive: true, force: true });
});

function take(text: string | Uint8Array, ...rest: unknown[]): boolean {
  printed += text;
  for (const callback of rest) if (typeof callback === 'function') callback();
  return true;
}

test('files without a model: sizes and weight errors, in a report that matches its schema', async () => {
  const out = join(folder, 'bare.safetensors');
  await runCompress(join(SAMPLE, 'model.safetensors'), { out, format: 'q8_0' }, running);
  printed = '';
  const report = join(folder, 'deeper', 'report.json');
  const code = await runVerify(join(SAMPLE, 'model.safetensors'), out, { report, json: true }, running);
  expect(code).toBe(EXIT.ok);
  const seen = v.parse(ReportSchema, JSON.parse(printed));
  expect(JSON.parse(await readFile(report, 'utf8'))).toEqual(JSON.parse(printed));
  expect(await readFile(join(folder, 'deeper', 'report.md'), 'utf8')).toMatch(/\| q8_0 \|/);
  expect((await readdir(join(folder, 'deeper'))).sort()).toEqual(['report.html', 'report.json', 'report.md']);
  expect(seen).toMatchObject({ accuracy: null, kernels: null, speed: null, gate: null });
  const quantized = seen.size.tensors.filter(({ format }) => format === 'q8_0');
  expect(quantized).toHaveLength(56);
  for (const { relativeError } of quantized) expect(relativeError).toBeLessThan(0.01);
  for (const { relativeError } of quantized) expect(relativeError).toBeGreaterThan(0);
  expect(said).toMatch(/only sizes and weight errors/);
});

test('a weight that is NaN in a bare file is exit code 1', async () => {
  const write = async (name: string, value: number) => {
    const path = join(folder, name);
    const writer = await writeSafetensors(await nodeFileSink(path), [{ name: 'w', type: 'F32', shape: [2, 2] }]);
    await writer.write('w', new Uint8Array(Float32Array.of(1, value, 3, 4).buffer));
    await writer.finish();
    return path;
  };
  const [good, bad] = [await write('good.safetensors', 2), await write('bad.safetensors', Number.NaN)];
  expect(await runVerify(good, good, {}, running)).toBe(EXIT.ok);
  expect(await runVerify(good, bad, { json: true }, running)).toBe(EXIT.no);
  expect(printed).toMatch(/"nonFinite":\s*\{\s*"original":\s*0,\s*"compressed":\s*1\s*\}/);
});

test('a gate that fails is exit code 1 and names tensors, and its report is still written; the memory is told before', async () => {
  // The embedding too, which costs more than all layers: 1.05% on these tokens.
  const out = join(folder, 'int4');
  const recipe = join(folder, 'recipe.json');
  await writeFile(recipe, '{"version": 1, "rules": [{"match": "*", "format": "int4-g128"}]}');
  await runCompress(SAMPLE, { out, recipe }, running);
  printed = '';
  await writeFile(join(folder, 'report'), 'old');
  const options = { text: TEXT, window: '64', windows: '2', maxPerplexityIncrease: '0.5%', speed: false };
  const code = await runVerify(SAMPLE, out, { ...options, report: join(folder, 'report') }, running);
  expect(code).toBe(EXIT.no);
  const report = v.parse(ReportSchema, JSON.parse(await readFile(join(folder, 'report'), 'utf8')));
  expect(report.gate).toMatchObject({ maxPerplexityIncrease: 0.005, passed: false });
  expect(report.gate!.costliest[0]).toMatchObject({
    name: 'model.embed_tokens.weight',
    format: 'int4-g128',
    next: 'int8-g128',
  });
  expect(report.accuracy!.sensitivity.map(({ layer }) => layer)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, null]);
  expect(printed).toMatch(/FAILED[\s\S]*\| int8-g128 \|/);
  expect(`${await readFile(join(folder, 'report.md'), 'utf8')}\n`).toBe(printed);
  expect((await readdir(folder)).sort()).toEqual(['int4', 'recipe.json', 'report', 'report.html', 'report.md']);
  expect(said.indexOf('Memory (estimates)')).toBeGreaterThanOrEqual(0);
  expect(said.indexOf('Memory (estimates)')).toBeLessThan(said.indexOf('Verifying: '));
});

test('what is wrong shows before a GPU is looked for, and leaves nothing behind', async () => {
  await writeFile(join(folder, 'file'), '');
  await mkdir(join(folder, 'taken.json'));
  await writeFile(join(folder, 'utf16'), Buffer.from('\ufeffA text that goes on.', 'utf16le'));
  await writeFile(join(folder, 'utf16-bare'), Buffer.from('A text that goes on.', 'utf16le'));
  await writeFile(join(folder, 'latin1'), Buffer.from('A caf\xe9 that goes on.', 'latin1'));
  const bare = join(SAMPLE, 'model.safetensors');
  const wrong: [string, string, VerifyCommandOptions, new (...args: never[]) => Error, RegExp][] = [
    [SAMPLE, q4, { text: TEXT, window: '1' }, ArgumentError, /--window takes/],
    [SAMPLE, q4, { text: TEXT, windows: '1.5' }, ArgumentError, /--windows takes/],
    [SAMPLE, q4, { text: TEXT, window: '100000' }, ArgumentError, /smaller --window/],
    [SAMPLE, q4, { text: TEXT, window: '513' }, ArgumentError, /512 positions/],
    [SAMPLE, q4, { text: TEXT, maxPerplexityIncrease: 'x' }, ArgumentError, /percentage/],
    [SAMPLE, q4, { maxPerplexityIncrease: '1%' }, ArgumentError, /--text/],
    [SAMPLE, q4, { text: join(folder, 'none') }, FileError, /does not exist/],
    [SAMPLE, q4, { text: join(folder, 'utf16') }, FileError, /utf16: it .*UTF-8.*convert/],
    [SAMPLE, q4, { text: join(folder, 'utf16-bare') }, FileError, /utf16-bare: it holds zero bytes/],
    [SAMPLE, q4, { text: join(folder, 'latin1') }, FileError, /latin1: it is not valid UTF-8/],
    [SAMPLE, q4, { text: join(SAMPLE, 'model.safetensors') }, FileError, /model\.safetensors: it .*UTF-8/],
    [bare, bare, { text: TEXT }, ModelError, /needs a model: a folder/],
    [join(folder, 'none'), q4, {}, FileError, /none/],
    [SAMPLE, folder, {}, FileError, /safetensors/],
    [SAMPLE, q4, { text: TEXT, report: join(folder, 'file', 'report.json') }, FileError, /file/],
    [SAMPLE, q4, { text: TEXT, report: join(folder, 'taken.json') }, FileError, /not a regular file/],
    [SAMPLE, q4, { text: TEXT, report: join(folder, 'taken.md') }, FileError, /not a regular file/],
  ];
  for (const [original, compressed, options, type, message] of wrong) {
    const run = runVerify(original, compressed, { adapter: 'no such adapter', ...options }, running);
    await expect(run, JSON.stringify(options)).rejects.toThrow(type);
    await expect(
      runVerify(original, compressed, { adapter: 'no such adapter', ...options }, running),
      JSON.stringify(options),
    ).rejects.toThrow(message);
  }
  expect((await readdir(folder)).sort()).toEqual(['file', 'latin1', 'taken.json', 'utf16', 'utf16-bare']);
});

test('one model is scored in one column, without the mark at the start of a text; lines of progress name the block', async () => {
  const text = join(folder, 'marked.txt');
  await writeFile(text, `\ufeff${(await readFile(TEXT, 'utf8')).slice(0, 2000)}`);
  const plain = join(folder, 'plain.txt');
  await writeFile(plain, (await readFile(TEXT, 'utf8')).slice(0, 2000));
  const score = async (path: string) => {
    printed = '';
    expect(await runVerify(SAMPLE, undefined, { text: path, window: '32', windows: '1' }, running)).toBe(EXIT.ok);
    return printed;
  };
  const scored = await score(text);
  expect(scored).toMatch(/\| perplexity \| \d+\.\d+ \|\n/);
  expect(scored).not.toContain('smaller');
  expect(said).toMatch(/Verifying: accuracy: \d+%, (layer \d of 8|head|embedding)/);
  expect(await score(plain)).toBe(scored);
});

test('models in the wrong order are said to be so, before the work and in the report', async () => {
  await runVerify(q4, SAMPLE, { text: TEXT, window: '32', windows: '1', speed: false }, running);
  expect(said.slice(0, said.indexOf('Verifying: '))).toMatch(/right way round/);
  expect(printed).toMatch(/Note: .*right way round/);
});

test('a cancelled run leaves the old report as it was', async () => {
  const report = join(folder, 'report.json');
  await writeFile(report, 'old');
  const controller = new AbortController();
  vi.mocked(console.error).mockImplementation((line) => {
    if (`${line}`.startsWith('Verifying: ')) controller.abort();
  });
  const run = runVerify(SAMPLE, q4, { text: TEXT, window: '32', windows: '2', report }, controller);
  await expect(run).rejects.toThrow(CancelledError);
  expect(await readdir(folder)).toEqual(['report.json']);
  expect(await readFile(report, 'utf8')).toBe('old');
});

test.each([
  ['out/report.json', 'out/report.json', 'out/report.md', 'out/report.html'],
  ['report.md', 'report.json', 'report.md', 'report.html'],
  ['report.html', 'report.json', 'report.md', 'report.html'],
  ['report', 'report', 'report.md', 'report.html'],
  ['a.json/report.v2', 'a.json/report.v2', 'a.json/report.v2.md', 'a.json/report.v2.html'],
])('--report %s writes %s, %s and %s', (path, json, markdown, html) => {
  expect(reportNames(path)).toEqual([json, markdown, html]);
});
