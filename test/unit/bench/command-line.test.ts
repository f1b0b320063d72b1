import { mkdtemp, open, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { runInBrowser } from '../../../bench/browser/run-in-browser.ts';
import { benchProgram, type Extras, exitCodeOf } from '../../../bench/program.ts';
import { readBench, writeBench } from '../../../bench/results-files.ts';
import { compareRuns } from '../../../bench/suite/compare.ts';
import type { Bench } from '../../../bench/suite/results-schema.ts';
import { ArgumentError, CancelledError, FileError } from '../../../src/errors.ts';
import { sampleBench, sampleCase, samplesAround } from './sample-bench.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'compressa-bench-'));
  for (const method of ['log', 'error'] as const) vi.spyOn(console, method).mockImplementation(() => {});
});
afterEach(async () => {
  vi.restoreAllMocks();
  process.exitCode = undefined;
  await rm(folder, { recursive: true, force: true });
});

const product = (seconds: number): Bench =>
  sampleBench([sampleCase({ suite: 'linear', name: 'x' }, { ours: samplesAround(seconds) })]);

/** A command line whose browser gives these results, and what it was asked for. */
function program(bench = product(1)) {
  const asked: Parameters<Extras['runInBrowser']>[] = [];
  const packed: string[] = [];
  const command = benchProgram({
    openPeers: async () => ({ contestants: [], absent: [], close: async () => {} }),
    runInBrowser: async (...given) => {
      asked.push(given);
      return bench;
    },
    packBench: async (path) => {
      packed.push(path);
      return 1e6;
    },
  });
  command.configureOutput({ writeErr: () => {} });
  const run = (...given: string[]) =>
    command.parseAsync([...given, '--json', join(folder, 'b.json'), '--report', join(folder, 'b.html')], {
      from: 'user',
    });
  return { asked, packed, run, command };
}

test('what the command line says reaches the run', async () => {
  const { asked, run } = program();
  await run(
    ...['--browser', '--headed', '--hardware', '--chrome-flag=--one', '--chrome-flag=--two', '--quick'],
    ...['--cycle', '1.5GiB', '--tune', 'quick', '--suite', 'linear', '--filter', 'q4_0', '--gpu-memory', '3MB'],
  );
  const [[job, { launch }]] = asked as [Parameters<Extras['runInBrowser']>];
  expect(job).toMatchObject({
    ...{ quick: true, cycledBytes: 1.5 * 2 ** 30, tune: 'quick', suites: ['linear'], filter: 'q4_0' },
    ...{ memoryBudget: 3e6, engine: expect.stringMatching(/^\d+\.\d+/) },
  });
  expect(launch).toEqual({ gpu: 'hardware', headed: true, flags: ['--one', '--two'] });
  expect(process.exitCode).toBe(0);
  expect(JSON.parse(await readFile(join(folder, 'b.json'), 'utf8'))).toEqual(product(1));
  expect((await readdir(folder)).sort()).toEqual(['b.html', 'b.json', 'b.md']);
});

test.each([
  [['--browser', '--adapter', 'x'], /^--adapter chooses among the adapters of Node/],
  [['--with', 'x'], /^--with is the later of two runs/],
  [['--with', 'x', '--compare', 'y'], /^--with compares two files .*, so that --json, --report would be ignored/],
  [['--headed'], /^--headed would be ignored without --browser/],
  [['--hardware', '--chrome-flag=--one'], /^--hardware, --chrome-flag would be ignored without --browser/],
  [['--pack', 'x.tar.gz', '--quick'], /^--pack measures nothing, so that --quick, --json, --report would be ignored/],
])('%j is refused, not ignored', async (given, message) => {
  const { asked, packed, run } = program();
  const refused = run(...given);
  await expect(refused).rejects.toThrow(ArgumentError);
  await expect(refused).rejects.toThrow(message);
  expect([asked, packed]).toEqual([[], []]);
});

test('--pack alone packs', async () => {
  const { packed, command } = program();
  await command.parseAsync(['--pack', 'x.tar.gz'], { from: 'user' });
  expect(packed).toEqual(['x.tar.gz']);
});

test('--compare says by the exit code whether ours got slower', async () => {
  const before = join(folder, 'before.json');
  await writeFile(before, JSON.stringify(product(1)));
  for (const [seconds, code] of [
    [1, 0],
    [2, 1],
    [0.5, 0],
  ] as const) {
    await program(product(seconds)).run('--browser', '--compare', before);
    expect(process.exitCode).toBe(code);
  }
});

test('--with compares two files and measures nothing', async () => {
  const [before, later] = [join(folder, 'before.json'), join(folder, 'later.json')];
  await writeFile(before, JSON.stringify(product(1)));
  for (const [seconds, code] of [
    [1, 0],
    [2, 1],
    [0.5, 0],
  ] as const) {
    await writeFile(later, JSON.stringify(product(seconds)));
    const { asked, command } = program();
    await command.parseAsync(['--compare', before, '--with', later], { from: 'user' });
    expect(process.exitCode).toBe(code);
    expect(asked).toEqual([]);
  }
  expect(vi.mocked(console.log).mock.calls.map(([text]) => String(text).split(':')[0])).toEqual([
    '4 of 4 figures are the same.',
    'slower',
    'faster',
  ]);
  expect((await readdir(folder)).sort()).toEqual(['before.json', 'later.json']);
});

test('exit codes: ours that failed, a cancelled run, a lost device; not what peers fail at', () => {
  const bench = product(1);
  const failing = (contestant: string | null): Bench => ({
    ...bench,
    failures: [{ suite: 'linear', name: 'x', contestant, message: 'wrong' }],
  });
  expect(exitCodeOf(bench, undefined)).toBe(0);
  expect(exitCodeOf(failing('ours'), undefined)).toBe(1);
  expect(exitCodeOf(failing(null), undefined)).toBe(1);
  expect(exitCodeOf(failing('a peer'), undefined)).toBe(0);
  expect(exitCodeOf({ ...failing('ours'), complete: false }, compareRuns(bench, product(2)))).toBe(130);
  expect(exitCodeOf({ ...failing(null), complete: false, deviceLost: true }, undefined)).toBe(3);
});

test('results are read before anything is measured, and refused by what is wrong with them', async () => {
  const path = join(folder, 'before.json');
  const { asked, run } = program();
  await expect(run('--browser', '--compare', path)).rejects.toThrow(/before\.json can't be read as JSON: ENOENT/);
  expect(asked).toEqual([]);
  for (const [text, message] of [
    ['{', /can't be read as JSON/],
    ['null', /is no result of this suite/],
    ['{"version": 1}', /has results of version 1; these are compared in version 3/],
    ['{"version": 3}', /is no result of this suite/],
  ] as const) {
    await writeFile(path, text);
    const read = readBench(path);
    await expect(read).rejects.toThrow(FileError);
    await expect(read).rejects.toThrow(message);
  }
  await writeFile(path, JSON.stringify(product(1)));
  expect(await readBench(path)).toEqual(product(1));
});

test('results replace those of before when they are complete, and nothing else stays', async () => {
  const paths = { json: join(folder, 'new', 'b.json'), report: join(folder, 'new', 'b.html') };
  for (const seconds of [1, 2]) await writeBench(product(seconds), paths);
  expect(await readBench(paths.json)).toEqual(product(2));
  expect((await readdir(join(folder, 'new'))).sort()).toEqual(['b.html', 'b.json', 'b.md']);

  // The old file is never opened to be written: who reads it meanwhile has all of it.
  const reading = await open(paths.json, 'r');
  await writeBench(product(3), paths);
  expect(JSON.parse(await reading.readFile('utf8'))).toEqual(product(2));
  await reading.close();
});

test('a run in a browser that was cancelled before it began builds no page', async () => {
  const job = { engine: '1', quick: true, cycledBytes: 1 };
  const run = runInBrowser(job, { model: '/nowhere', launch: {}, signal: AbortSignal.abort(), onProgress: () => {} });
  await expect(run).rejects.toThrow(CancelledError);
});
