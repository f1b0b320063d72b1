import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import * as v from 'valibot';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { BenchSchema } from '../../bench/suite/results-schema.ts';

const run = promisify(execFile);
const RUN = ['--import', 'tsx', '--import', './tools/wgsl-register.ts', 'bench/run.ts', '--browser', '--quick'];

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'compressa-bench-browser-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test('the suites run in a browser that nobody sees, and leave figures and pages', async () => {
  const [json, report] = [join(folder, 'bench.json'), join(folder, 'bench.html')];
  await run(process.execPath, [...RUN, '--suite', 'roofline', '--json', json, '--report', report]);
  const bench = v.parse(BenchSchema, JSON.parse(await readFile(json, 'utf8')));
  expect(bench.environment).toMatch(/Chrome/);
  expect(bench.complete).toBe(true);
  expect(bench.failures).toEqual([]);
  expect(bench.cases.map(({ name }) => name)).toEqual(expect.arrayContaining(['copy', 'triad', 'f32']));
  expect(await readFile(report, 'utf8')).toContain('Memory and arithmetic');
  expect((await readdir(folder)).sort()).toEqual(['bench.html', 'bench.json', 'bench.md']);
});

test('what a page refuses is said by its name, with the exit code that it has in Node', async () => {
  const refused = run(process.execPath, [...RUN, '--suite', 'linear', '--filter', 'zzz']);
  await expect(refused).rejects.toMatchObject({
    code: 2,
    stderr: expect.stringContaining('error ARGUMENT: In the browser: No case of linear contains "zzz".'),
  });
});
