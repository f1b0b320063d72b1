import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as later } from 'node:timers/promises';
import { type Claim, SAMPLE_MODEL } from '../claim.ts';
import { random } from '../random.ts';

const KILLS = 20;
/** What the runs write, in turn. */
const OUTPUTS = [
  { name: 'folder', options: ['--shard-size', '1MB'] },
  { name: 'file.safetensors', options: [] },
  { name: 'file.gguf', options: [] },
] as const;

type Output = (typeof OUTPUTS)[number];

const compressing = (folder: string, { name, options }: Output): ChildProcess =>
  spawn(
    process.execPath,
    ['dist/cli/main.js', 'compress', SAMPLE_MODEL, '-o', join(folder, name), '--resume', ...options],
    { stdio: 'ignore' },
  );

/** Waits for the end: the exit code, or null where a signal ended it. */
async function ended(child: ChildProcess): Promise<number | null> {
  const [code] = await once(child, 'exit');
  return code;
}

/** Waits until something is written, or `child` is over: milliseconds that it took. */
async function writing(folder: string, { name }: Output, child: ChildProcess): Promise<number> {
  const start = performance.now();
  while (child.exitCode === null) {
    if (await stat(join(folder, `${name}.compressa-journal`)).catch(() => undefined)) break;
    await later(1);
  }
  return performance.now() - start;
}

/** All bytes below `path`, by name; undefined where there is nothing. */
async function content(path: string): Promise<Map<string, Buffer> | undefined> {
  const found = await stat(path).catch(() => undefined);
  if (!found) return undefined;
  const names = found.isDirectory() ? (await readdir(path)).sort() : [''];
  return new Map(await Promise.all(names.map(async (name) => [name, await readFile(join(path, name))] as const)));
}

const same = (a: Map<string, Buffer> | undefined, b: Map<string, Buffer>): boolean =>
  a?.size === b.size && [...b].every(([name, bytes]) => a.get(name)?.equals(bytes));

/**
 * `kill -9` at any moment of a compression leaves a complete output or none, and a run with `--resume` afterwards ends with the
 * bytes of an uninterrupted one and with nothing beside them. The moments are spread evenly at random, by a fixed seed: of every
 * second run over all the time that an uninterrupted one takes, of the others over the part of it in which it writes, which for a
 * small model is the smaller part.
 */
export const claim: Claim = {
  name: 'resume',
  async measure() {
    const folder = await mkdtemp(join(tmpdir(), 'compressa-resume-'));
    try {
      const whole = new Map<
        Output,
        { readonly bytes: Map<string, Buffer>; readonly all: number; readonly writes: number }
      >();
      for (const output of OUTPUTS) {
        const start = performance.now();
        const child = compressing(folder, output);
        const exit = ended(child);
        const before = await writing(folder, output, child);
        const code = await exit;
        const all = performance.now() - start;
        const bytes = await content(join(folder, output.name));
        if (code !== 0 || !bytes) throw new Error(`compress failed with exit code ${code}`);
        whole.set(output, { bytes, all, writes: all - before });
        await rm(join(folder, output.name), { recursive: true });
      }
      const next = random(20);
      const found = { absent: 0, complete: 0, half: 0, continued: 0, identical: 0 };
      for (let i = 0; i < KILLS; i++) {
        const output = OUTPUTS[i % OUTPUTS.length]!;
        const { bytes, all, writes } = whole.get(output)!;
        const target = join(folder, output.name);
        const child = compressing(folder, output);
        const exit = ended(child);
        const late = i % 2 === 1;
        if (late) await writing(folder, output, child);
        await later(next() * (late ? writes : all));
        child.kill('SIGKILL');
        await exit;
        const left = await content(target);
        if (!left) found.absent++;
        else if (same(left, bytes)) found.complete++;
        else found.half++;
        if (!left) {
          if ((await readdir(folder)).some((name) => name.endsWith('journal'))) found.continued++;
          await ended(compressing(folder, output));
        }
        const clean = (await readdir(folder)).every((name) => name === output.name || left !== undefined);
        if (same(await content(target), bytes) && clean) found.identical++;
        for (const name of await readdir(folder)) await rm(join(folder, name), { recursive: true });
      }
      return [
        {
          claim: `the output after kill -9 at ${KILLS} random moments`,
          threshold: 'absent or complete each time',
          measured: `absent ${found.absent} times, complete ${found.complete} times, in part ${found.half} times`,
          pass: found.half === 0 && found.absent + found.complete === KILLS,
        },
        {
          claim: 'after --resume, the bytes of an uninterrupted run and nothing else beside them',
          threshold: `${KILLS} of ${KILLS}, some of which found work of the killed run`,
          measured: `${found.identical} of ${KILLS}, ${found.continued} of which found work`,
          pass: found.identical === KILLS && found.continued > 0,
        },
      ];
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
};
