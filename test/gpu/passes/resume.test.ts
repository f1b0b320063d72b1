import { appendFile, mkdtemp, open, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { ArgumentError, CancelledError, FileError, NonFiniteError } from '../../../src/errors.ts';
import { memoryFolder } from '../../../src/files/model-files.ts';
import { nodeFolder } from '../../../src/files/node-files.ts';
import { nodeOutput } from '../../../src/files/node-output.ts';
import { nodeFileSink } from '../../../src/files/node-sink.ts';
import { memoryOutput, memorySink } from '../../../src/files/sink.ts';
import { memorySource } from '../../../src/files/source.ts';
import type { Gpu } from '../../../src/gpu/gpu.ts';
import { compress } from '../../../src/passes/compress.ts';
import type { CompressOptions } from '../../../src/passes/compress-options.ts';
import { openTestGpu } from '../open-test-gpu.ts';

const SAMPLE = fileURLToPath(new URL('../../../models/union-7m/', import.meta.url));

let gpu: Gpu;
let folder: string;
beforeAll(async () => {
  gpu = await openTestGpu();
});
afterAll(() => gpu?.close());
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'compressa-resume-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const sample = () => nodeFolder(SAMPLE);
const isFile = (name: string) => /\.(gguf|safetensors)$/.test(name);
const partial = (name: string) => join(folder, `${name}.compressa-partial`);
const journal = (name: string) => join(folder, `${name}.compressa-journal`);

async function overwrite(file: string, at: (size: number) => number, bytes: Uint8Array) {
  const handle = await open(file, 'r+');
  await handle.write(bytes, 0, bytes.length, at((await handle.stat()).size));
  await handle.close();
}

/** Compresses the sample to `name`, resuming; `stopAfter` tensors it is cancelled. */
async function run(name: string, options: Partial<CompressOptions> = {}, stopAfter = Number.POSITIVE_INFINITY) {
  const path = join(folder, name);
  const controller = new AbortController();
  const output = await (isFile(name) ? nodeFileSink : nodeOutput)(path, { resume: true });
  const written: string[] = [];
  const work = compress(await sample(), output, {
    gpu,
    resume: true,
    signal: controller.signal,
    onProgress: ({ tensor }) => {
      written.push(tensor);
      if (written.length === stopAfter) controller.abort();
    },
    ...options,
  });
  if (stopAfter === Number.POSITIVE_INFINITY) await work;
  else await expect(work).rejects.toThrow(/cancelled; what is finished is kept/);
  return written;
}

/** The same without interruption, in memory. */
async function expected(name: string, options: Partial<CompressOptions> = {}): Promise<Map<string, Uint8Array>> {
  if (isFile(name)) {
    const sink = memorySink(name);
    await compress(await sample(), sink, { gpu, ...options });
    return new Map([[name, sink.bytes()]]);
  }
  const output = memoryOutput(name);
  await compress(await sample(), output, { gpu, ...options });
  return new Map([...output.files].map(([file, bytes]) => [join(name, file), bytes]));
}

/** Holds what is in the folder to an uninterrupted run: the same files with the same bytes, and no others. */
async function checkComplete(name: string, wanted: Map<string, Uint8Array>) {
  expect(await readdir(folder)).toEqual([name]);
  const names = (await readdir(folder, { recursive: true })).filter((file) => file !== name || isFile(name));
  expect(names.sort()).toEqual([...wanted.keys()].sort());
  for (const [file, bytes] of wanted) {
    expect(Buffer.compare(await readFile(join(folder, file)), bytes), file).toBe(0);
  }
}

describe.each<[string, Partial<CompressOptions>]>([
  ['out', { format: 'q4_0' }],
  ['out', { format: 'nf4' }],
  ['out', { format: 'int4-g64-asym', shardBytes: 600_000 }],
  ['out.safetensors', { format: 'q8_0' }],
  ['out.gguf', { format: 'q4_1' }],
])('%s with %o', (name, options) => {
  test('interrupted twice, it keeps what is finished and ends as if it never was', async () => {
    const wanted = await expected(name, options);
    const first = await run(name, options, 20);
    expect((await readdir(folder)).sort()).toEqual([`${name}.compressa-journal`, `${name}.compressa-partial`]);
    const second = await run(name, options, 30);
    const third = await run(name, options);
    await checkComplete(name, wanted);
    // A tensor may be through although its progress was not told any more, but none is done again.
    const all = [...first, ...second, ...third];
    expect(new Set(all).size).toBe(all.length);
    expect(all.length).toBeGreaterThanOrEqual(74);
  });

  test('the size of chunks may change between the runs, which cut tensors in the middle', async () => {
    const wanted = await expected(name, options);
    await run(name, { ...options, chunkBytes: 32 * 1024 }, 100);
    await run(name, { ...options, chunkBytes: 16 * 1024 });
    await checkComplete(name, wanted);
  });
});

test('where all tensors are done, none is done again; the source may be found by another path', async () => {
  const done = await run('out', {}, 74);
  const output = await nodeOutput(join(folder, 'out'), { resume: true });
  const written: string[] = [];
  const { readBacks } = gpu.counters;
  await compress(await nodeFolder(join(SAMPLE, '..', 'union-7m')), output, {
    gpu,
    resume: true,
    onProgress: ({ tensor }) => written.push(tensor),
  });
  expect(done).toHaveLength(74);
  expect(written).toEqual([]);
  expect(gpu.counters.readBacks).toBe(readBacks);
  await checkComplete('out', await expected('out'));
});

describe('what was left is not trusted', () => {
  const name = 'out.safetensors';
  let wanted: Map<string, Uint8Array>;
  beforeAll(async () => {
    wanted = await expected(name);
  });

  test.each<[string, (file: string, lines: string) => Promise<void>]>([
    ['bytes changed', (file) => overwrite(file, (size) => Math.floor(size / 2), Uint8Array.of(0xaa, 0xbb, 0xcc))],
    ['the header changed', (file) => overwrite(file, () => 100, Uint8Array.of(1))],
    ['the file was cut', async (file) => truncate(file, Math.floor((await stat(file)).size / 3))],
    ['the file is gone', (file) => rm(file)],
    ['something was appended', (file) => appendFile(file, 'rubbish')],
    ['the last line of the journal was cut', async (_, lines) => truncate(lines, (await stat(lines)).size - 9)],
    ['the journal has rubbish at its end', (_, lines) => appendFile(lines, 'rubbish\n{"tensor":"x","parts":[]}\n')],
    ['the journal is gone', (_, lines) => rm(lines)],
    ['the journal is empty', (_, lines) => writeFile(lines, '')],
  ])('%s', async (_, spoil) => {
    await run(name, {}, 40);
    await spoil(partial(name), journal(name));
    await run(name);
    await checkComplete(name, wanted);
  });

  test('only what is damaged, and what follows it, is done again', async () => {
    const first = await run(name, {}, 60);
    await overwrite(partial(name), (size) => size - 1000, Uint8Array.of(0xaa, 0xbb, 0xcc));
    const again = await run(name);
    expect(first.filter((tensor) => again.includes(tensor)).length).toBeLessThan(4);
    await checkComplete(name, wanted);
  });
});

test.each<[string, Partial<CompressOptions>, string]>([
  ['the recipe', { format: 'q8_0' }, 'the recipe'],
  ['the files', { shardBytes: 1_000_000 }, 'the files of weights'],
])('another job is refused: %s differs', async (_, options, what) => {
  await run('out', {}, 20);
  const output = await nodeOutput(join(folder, 'out'), { resume: true });
  const other = compress(await sample(), output, { gpu, resume: true, ...options });
  await expect(other).rejects.toThrow(FileError);
  await expect(other).rejects.toThrow(new RegExp(`the interrupted run was another job; different: .*${what}`));
  // It can still go on as it was.
  await run('out');
  await checkComplete('out', await expected('out'));
});

test('a journal that says nothing of the job is refused', async () => {
  await run('out', {}, 20);
  const lines = (await readFile(journal('out'), 'utf8')).split('\n');
  for (const first of ['rubbish', '{"compressa":"journal","version":2,"job":{}}', '{"__proto__":{}}']) {
    await writeFile(journal('out'), [first, ...lines.slice(1)].join('\n'));
    const output = await nodeOutput(join(folder, 'out'), { resume: true });
    const other = compress(await sample(), output, { gpu, resume: true });
    await expect(other).rejects.toThrow(/the interrupted run left a journal of another version/);
  }
});

test('a GGUF file is a source like any other', async () => {
  const wanted = await expected('q.gguf', { format: 'q5_0' });
  const [bytes] = wanted.values();
  const whole = memoryOutput('out');
  await compress(memorySource('q.gguf', bytes!), whole, { gpu, format: 'keep' });
  for (const stopAfter of [15, 90]) {
    const controller = new AbortController();
    let calls = 0;
    const output = await nodeOutput(join(folder, 'out'), { resume: true });
    const work = compress(memorySource('q.gguf', bytes!), output, {
      gpu,
      resume: true,
      format: 'keep',
      signal: controller.signal,
      onProgress: () => {
        if (++calls === stopAfter) controller.abort();
      },
    });
    if (stopAfter === 15) await expect(work).rejects.toThrow(CancelledError);
    else await work;
  }
  await checkComplete('out', new Map([...whole.files].map(([file, content]) => [join('out', file), content])));
});

test('another source is refused, also one that differs in its values only', async () => {
  const files = Object.fromEntries(
    await Promise.all(
      ['config.json', 'tokenizer.json', 'model.safetensors'].map(
        async (file) => [file, new Uint8Array(await readFile(join(SAMPLE, file)))] as const,
      ),
    ),
  );
  const go = async (stop: boolean) => {
    const controller = new AbortController();
    const output = await nodeOutput(join(folder, 'out'), { resume: true });
    let calls = 0;
    await compress(memoryFolder('model', files), output, {
      gpu,
      resume: true,
      signal: controller.signal,
      onProgress: () => {
        if (stop && ++calls === 10) controller.abort();
      },
    });
  };
  await expect(go(true)).rejects.toThrow(CancelledError);
  const weights = files['model.safetensors']!;
  // As training would: all values a little different. Even bytes are the low ones of f16.
  for (let i = 20_000 - (20_000 % 2); i < weights.length; i += 2) weights[i]! ^= 1;
  await expect(go(false)).rejects.toThrow(/different: the source's values/);
});

test('a run that stops before anything is finished leaves nothing, and so does a weight that is NaN', async () => {
  await expect(
    compress(await sample(), await nodeOutput(join(folder, 'out'), { resume: true }), {
      gpu,
      resume: true,
      format: 'unknown',
    }),
  ).rejects.toThrow();
  expect(await readdir(folder)).toEqual([]);

  const weights = new Uint8Array(await readFile(join(SAMPLE, 'model.safetensors')));
  weights.fill(0xff, weights.length - 2);
  const files = {
    'config.json': new Uint8Array(await readFile(join(SAMPLE, 'config.json'))),
    'model.safetensors': weights,
  };
  const output = await nodeOutput(join(folder, 'out'), { resume: true });
  const bad = compress(memoryFolder('bad', files), output, { gpu, resume: true });
  await expect(bad).rejects.toThrow(NonFiniteError);
  expect(await readdir(folder)).toEqual([]);
});

test('outputs that can not be resumed, or are opened otherwise than they are used, are refused', async () => {
  for (const output of [memoryOutput(), memorySink('out.safetensors')]) {
    const run = compress(await sample(), output, { gpu, resume: true });
    await expect(run).rejects.toThrow(ArgumentError);
  }
  const output = await nodeOutput(join(folder, 'out'), { resume: true });
  await expect(compress(await sample(), output, { gpu })).rejects.toThrow(/opened with "resume"/);
  expect(await readdir(folder)).toEqual([]);
});
