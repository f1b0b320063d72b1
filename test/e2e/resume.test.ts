import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, watch } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';

const MAIN = 'dist/cli/main.js';
const SAMPLE = 'models/union-7m';

let folder: string;
beforeAll(() => {
  if (!existsSync(MAIN)) throw new Error(`${MAIN} is missing: run npm run build first.`);
});
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'compressa-resume-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const start = (name: string, ...options: string[]) =>
  spawn(process.execPath, [MAIN, 'compress', SAMPLE, '-o', join(folder, name), ...options], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });

/** Runs the command to its end. */
async function complete(name: string, ...options: string[]) {
  const child = start(name, ...options);
  let stderr = '';
  child.stderr.on('data', (text) => {
    stderr += text;
  });
  const [code] = await once(child, 'close');
  return { code, stderr };
}

/** Runs it until the journal has `lines` lines, and sends `signal`. */
async function interrupt(name: string, lines: number, signal: NodeJS.Signals) {
  const child = start(name, '--resume');
  let stderr = '';
  child.stderr.on('data', (text) => {
    stderr += text;
  });
  const closed = once(child, 'close');
  const stop = new AbortController();
  closed.then(() => stop.abort());
  const journal = join(folder, `${name}.compressa-journal`);
  try {
    for await (const _ of watch(folder, { signal: stop.signal })) {
      const text = await readFile(journal, 'utf8').catch(() => '');
      if (text.split('\n').length > lines) break;
    }
  } catch {
    // It was over before: what follows says so.
  }
  child.kill(signal);
  const [code, killedBy] = await closed;
  return { code, killedBy, stderr };
}

describe.each(['out', 'out.gguf', 'out.safetensors'])('%s', (name) => {
  test('killed three times, it is absent each time, and then ends as if it never was', async () => {
    expect(await complete(`whole-${name}`)).toMatchObject({ code: 0 });
    for (const lines of [2, 15, 40]) {
      expect(await interrupt(name, lines, 'SIGKILL')).toMatchObject({ killedBy: 'SIGKILL' });
      const left = await readdir(folder);
      expect(left).not.toContain(name);
      expect(left).toContain(`${name}.compressa-partial`);
    }
    expect(await complete(name, '--resume')).toMatchObject({ code: 0 });
    expect((await readdir(folder)).sort()).toEqual([name, `whole-${name}`].sort());
    const files = name === 'out' ? (await readdir(join(folder, `whole-${name}`))).sort() : [''];
    if (name === 'out') expect((await readdir(join(folder, name))).sort()).toEqual(files);
    for (const file of files) {
      const [a, b] = [await readFile(join(folder, name, file)), await readFile(join(folder, `whole-${name}`, file))];
      expect(a.equals(b), file).toBe(true);
    }
  });
});

test('Ctrl-C keeps what is finished and says so, and another job is refused', async () => {
  const run = await interrupt('out', 10, 'SIGINT');
  expect(run).toMatchObject({ code: 130, killedBy: null });
  expect(run.stderr).toMatch(/^The compression was cancelled; what is finished is kept for a run with "resume"\.$/m);
  expect((await readdir(folder)).sort()).toEqual(['out.compressa-journal', 'out.compressa-partial']);
  const other = await complete('out', '--resume', '--format', 'q8_0');
  expect(other.code).toBe(2);
  expect(other.stderr).toMatch(/^error FILE: .*out: the interrupted run was another job; different: the recipe/m);
  expect(await complete('out', '--resume')).toMatchObject({ code: 0 });
  expect(await readdir(folder)).toEqual(['out']);
});
