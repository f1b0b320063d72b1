import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { runCompress } from '../../../src/cli/compress.ts';
import { openPath } from '../../../src/files/node-files.ts';
import { nodeFileSink } from '../../../src/files/node-sink.ts';
import { writeSafetensors } from '../../../src/files/safetensors-write.ts';
import { memorySink } from '../../../src/files/sink.ts';
import type { Gpu } from '../../../src/gpu/gpu.ts';
import { compress } from '../../../src/passes/compress.ts';
import { openCliBench, running } from '../cli-bench.ts';
import { openTestGpu } from '../open-test-gpu.ts';

const cli = openCliBench();

let gpu: Gpu;
let folder: string;
let source: string;
beforeAll(async () => {
  gpu = await openTestGpu();
});
afterAll(() => gpu?.close());
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'compressa-saturation-'));
  source = join(folder, 'source.safetensors');
  await writeFile(source, await large());
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const ROWS = 40;
const K = 64;

/** Three matrices, one of them with ±1e38 far apart and one with a value that is just too large for f16. */
async function large(): Promise<Uint8Array> {
  const matrix = (values: Readonly<Record<number, number>>) =>
    new Uint8Array(Float32Array.from({ length: ROWS * K }, (_, i) => values[i] ?? Math.sin(i)).buffer);
  const tensors = {
    'a.weight': matrix({ 5: 1e38, 6: -1e38, [33 * K + 40]: -1e38 }),
    'b.weight': matrix({}),
    'c.weight': matrix({ [9 * K]: 65520, [9 * K + 1]: 65504 }),
  };
  const sink = memorySink();
  const specs = Object.keys(tensors).map((name) => ({ name, type: 'F32' as const, shape: [ROWS, K] }));
  const writer = await writeSafetensors(sink, specs, {});
  for (const [name, bytes] of Object.entries(tensors)) await writer.write(name, bytes);
  await writer.finish();
  return sink.bytes();
}

const F16 =
  'Weights that are too large for their format were cut off in "a.weight" (f16: 3 weights beyond 65504), "c.weight" (f16: 1 weight beyond 65504). ' +
  'If they matter, leave these tensors as they are, by a rule with "format": "keep".';

test.each<[string, string[]]>([
  ['f16', [F16]],
  ['q8_0', [expect.stringContaining('cut off in "a.weight" (q8_0: 2 blocks with the largest scale')]],
  ['q4_1', [expect.stringContaining('cut off in "a.weight" (q4_1: 2 blocks with')]],
  ['int4-g64-asym', [expect.stringContaining('cut off in "a.weight" (int4-g64-asym: 2 blocks with')]],
  [
    'nvfp4',
    [expect.stringContaining('"a.weight" (nvfp4: 2 blocks with the largest scale or minimum that there is), "c.')],
  ],
  ['bf16', []],
  ['mxfp4', []],
])('%s: what is cut off is counted and named, whatever the size of chunks', async (format, notices) => {
  for (const chunkBytes of [undefined, 1]) {
    const report = await compress(await openPath(source), memorySink('out.safetensors'), {
      gpu,
      format,
      ...(chunkBytes && { chunkBytes }),
    });
    expect(report.notices).toEqual(notices);
  }
});

test('the command says it on standard error and in its document', async () => {
  const out = join(folder, 'out.safetensors');
  await runCompress(source, { out, format: 'f16', json: true }, running);
  expect(cli.said.match(/note: Weights that are too large .*/g)).toEqual([`note: ${F16}`]);
  expect(JSON.parse(cli.printed).notices).toEqual([F16]);
});

test('a run that goes on knows what the one before it cut off', async () => {
  const out = join(folder, 'out.safetensors');
  const controller = new AbortController();
  const resumed = async (signal?: AbortSignal) =>
    compress(await openPath(source), await nodeFileSink(out, { resume: true }), {
      gpu,
      format: 'f16',
      resume: true,
      onProgress: ({ tensor }) => tensor === 'b.weight' && controller.abort(),
      ...(signal && { signal }),
    });
  await expect(resumed(controller.signal)).rejects.toThrow(/what is finished is kept/);
  expect(await readFile(`${out}.compressa-journal`, 'utf8')).toMatch(/"a\.weight".*"saturated":3\}/);
  expect((await resumed()).notices).toEqual([F16]);
});
