import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, stat, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import * as v from 'valibot';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { BenchSchema } from '../../bench/suite/results-schema.ts';

const run = promisify(execFile);
const RUN = ['--import', 'tsx', '--import', './tools/wgsl-register.ts', 'bench/run.ts'];

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'compressa-pack-test-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test('one archive measures a machine that has a shell, tar, gzip and a Vulkan driver, and nothing else', async () => {
  const archive = join(folder, 'new', 'bench.tar.gz');
  const { stdout } = await run(process.execPath, [...RUN, '--pack', archive]);
  expect(stdout).toContain('tar xzf bench.tar.gz && compressa-bench/run');
  expect((await stat(archive)).size).toBeLessThan(60e6);

  // No node on the path: only the programs named.
  const bin = join(folder, 'bin');
  const home = join(folder, 'home');
  await mkdir(bin);
  await mkdir(home);
  for (const name of ['sh', 'dirname', 'tar', 'gzip']) {
    const { stdout: path } = await run('/bin/sh', ['-c', `command -v ${name}`]);
    await symlink(path.trim(), join(bin, name));
  }
  const driver = process.env.VK_DRIVER_FILES;
  const env = { PATH: bin, HOME: home, ...(driver !== undefined && { VK_DRIVER_FILES: driver }) };
  const bare = (command: string) => run(join(bin, 'sh'), ['-c', command], { cwd: home, env });
  await bare(`tar xzf ${archive}`);
  await bare('compressa-bench/run --quick --suite attention --filter decode --json here/figures.json');

  // Paths are the caller's.
  const results = join(home, 'out/bench');
  const bench = v.parse(BenchSchema, JSON.parse(await readFile(join(home, 'here/figures.json'), 'utf8')));
  expect(bench.complete).toBe(true);
  expect(bench.failures).toEqual([]);
  expect(bench.cases.some(({ suite }) => suite === 'attention')).toBe(true);
  expect(await readFile(join(results, 'bench.html'), 'utf8')).toContain('<svg');

  const refused = bare('compressa-bench/run --browser');
  await expect(refused).rejects.toMatchObject({ code: 2 });
});
