import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, open, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest';

const MAIN = 'dist/cli/main.js';
const SAMPLE = 'models/union-7m';

let folder: string;
let child: ChildProcess | undefined;
beforeAll(() => {
  if (!existsSync(MAIN)) throw new Error(`${MAIN} is missing: run npm run build first.`);
});
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'compressa-interrupt-'));
});
afterEach(async () => {
  child?.kill('SIGKILL');
  await rm(folder, { recursive: true, force: true });
});

/** Runs the command, sends `signal` once standard error says that it is at work, and waits for its end. */
async function interrupted(args: readonly string[], atWork: RegExp, signal: NodeJS.Signals) {
  const running = spawn(process.execPath, [MAIN, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  child = running;
  let [stdout, stderr] = ['', ''];
  let during: string[] = [];
  let sent: Promise<void> | undefined;
  running.stdout.on('data', (text) => {
    stdout += text;
  });
  running.stderr.on('data', (text) => {
    stderr += text;
    if (atWork.test(stderr)) {
      sent ??= readdir(folder).then((names) => {
        during = names;
        running.kill(signal);
      });
    }
  });
  // `close`, not `exit`: only then all output has arrived.
  const [code, killedBy] = await once(running, 'close');
  await sent;
  return { code, killedBy, stdout, stderr, during };
}

/** A file of zeros that takes no room on the disk, and long enough to compress that a signal finds it at work. */
async function largeFile(path: string): Promise<void> {
  const [count, rows, k] = [128, 1024, 4096];
  const bytes = 4 * rows * k;
  const tensors = Array.from({ length: count }, (_, i) => {
    const data_offsets = [i * bytes, (i + 1) * bytes];
    return [`layers.${i}.weight`, { dtype: 'F32', shape: [rows, k], data_offsets }];
  });
  const header = Buffer.from(JSON.stringify(Object.fromEntries(tensors)));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  const file = await open(path, 'w');
  try {
    await file.write(Buffer.concat([length, header]));
    await file.truncate(8 + header.length + count * bytes);
  } finally {
    await file.close();
  }
}

test.each(['SIGINT', 'SIGTERM'] as const)('%s ends compress with 130, and nothing is left', async (signal) => {
  const input = join(folder, 'large.safetensors');
  await largeFile(input);
  const out = join(folder, 'out.safetensors');
  const run = await interrupted(['compress', input, '-o', out], /^Compressing: \d/m, signal);
  // It was at work: its temporary file was there.
  expect(run.during).toContainEqual(expect.stringMatching(/^out\.safetensors\.partial-/));
  expect(run).toMatchObject({ code: 130, killedBy: null, stdout: '' });
  expect(run.stderr).toMatch(/^The compression was cancelled; nothing was written\.$/m);
  expect(await readdir(folder)).toEqual(['large.safetensors']);
});

test('SIGINT ends verify with 130, and no report is left', async () => {
  const report = join(folder, 'report.json');
  const args = ['verify', SAMPLE, SAMPLE, '--text', `${SAMPLE}/validation.txt`, '--report', report];
  const run = await interrupted(args, /^Verifying: .*\d%/m, 'SIGINT');
  expect(run.during).toContainEqual(expect.stringMatching(/^report\.json\.partial-/));
  expect(run).toMatchObject({ code: 130, killedBy: null, stdout: '' });
  expect(run.stderr).toMatch(/was cancelled\.$/m);
  expect(await readdir(folder)).toEqual([]);
});
