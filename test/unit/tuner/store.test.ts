import { spawn } from 'node:child_process';
import { lutimes, mkdir, mkdtemp, readdir, readFile, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { cacheFolder, nodeTuningStore } from '../../../src/files/node-tuning-store.ts';
import { memoryTuningStore, type Tuning } from '../../../src/tuner/store.ts';

const tuning = (variant: string): Tuning => ({
  ...{ variant, kernels: '0123', mode: 'quick', clear: true, contests: 1, seconds: { [variant]: 1e-3 } },
});

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'compressa-tuning-'));
});
afterAll(() => rm(folder, { recursive: true }));

describe.each(['memory', 'file'])('a store in %s', (kind) => {
  const open = () => (kind === 'memory' ? memoryTuningStore() : nodeTuningStore(join(folder, 'new/tuning.json')));

  test('adds to what it holds, device by device', async () => {
    const store = open();
    expect(await store.load('a')).toEqual(new Map());
    await store.save('a', new Map([['x', tuning('1')]]));
    await store.save('b', new Map([['x', tuning('2')]]));
    await store.save('a', new Map([['y', tuning('3')]]));
    await store.save('a', new Map([['x', tuning('4')]]));
    const again = kind === 'memory' ? store : open();
    expect(await again.load('a')).toEqual(new Map([['x', tuning('4')], ['y', tuning('3')]])); // biome-ignore format: a line
    expect(await again.load('b')).toEqual(new Map([['x', tuning('2')]]));
  });
});

test('a file that is damaged counts as empty, an entry that is damaged as missing; both are replaced', async () => {
  const path = join(folder, 'damaged.json');
  const kept = tuning('kept');
  const entries = { x: kept, y: { ...kept, mode: 'slow' }, z: 5, __proto__: null };
  const damaged = [
    '',
    '{"version": 1, "devi',
    'null',
    '[]',
    '{"version":2,"devices":{}}',
    '{"version":1,"devices":3}',
    '{"version":1,"devices":{"a":7}}',
    '\u0000'.repeat(100),
  ];
  const store = nodeTuningStore(path);
  for (const text of damaged) {
    await writeFile(path, text);
    expect(await store.load('a'), text).toEqual(new Map());
    await store.save('a', new Map([['x', kept]]));
    expect(await store.load('a'), text).toEqual(new Map([['x', kept]]));
  }
  await writeFile(path, JSON.stringify({ version: 1, devices: { a: entries } }));
  expect(await store.load('a')).toEqual(new Map([['x', kept]]));
});

test('processes that write at the same time lose nothing', async () => {
  const path = join(folder, 'shared.json');
  const source = JSON.stringify(join(process.cwd(), 'src/files/node-tuning-store.ts'));
  const script = `
    import { nodeTuningStore } from ${source};
    const store = nodeTuningStore(${JSON.stringify(path)});
    for (let i = 0; i < 8; i++) await store.save('a', new Map([[process.argv[1] + i, ${JSON.stringify(tuning('v'))}]]));
  `;
  const names = ['p', 'q', 'r'];
  const ends = names.map(
    (name) =>
      new Promise((resolve) =>
        spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script, name], {
          stdio: 'inherit',
        }).on('close', resolve),
      ),
  );
  expect(await Promise.all(ends)).toEqual([0, 0, 0]);
  const found = await nodeTuningStore(path).load('a');
  expect([...found.keys()].sort()).toEqual(names.flatMap((name) => [...Array(8).keys()].map((i) => name + i)).sort());
  expect((await readdir(folder)).filter((name) => name.startsWith('shared'))).toEqual(['shared.json']);
});

test('takes over from a process that was killed, and does not mind a folder that is none', async () => {
  const path = join(folder, 'killed.json');
  await writeFile(`${path}.lock`, '1\n');
  const store = nodeTuningStore(path);
  const kept = async () => JSON.parse(await readFile(path, 'utf8'));
  await utimes(`${path}.lock`, new Date(0), new Date(0));
  await store.save('a', new Map([['x', tuning('v')]]));
  expect(await kept()).toEqual({ version: 1, devices: { a: { x: tuning('v') } } });
  // By a clock that was ahead; a link that leads nowhere.
  await writeFile(`${path}.lock`, '1\n');
  const ahead = new Date(Date.now() + 3_600_000);
  await utimes(`${path}.lock`, ahead, ahead);
  await store.save('a', new Map([['x', tuning('w')]]));
  expect(await kept()).toEqual({ version: 1, devices: { a: { x: tuning('w') } } });
  await symlink(join(folder, 'nowhere'), `${path}.lock`);
  await lutimes(`${path}.lock`, new Date(0), new Date(0));
  await store.save('a', new Map([['x', tuning('y')]]));
  expect(await kept()).toEqual({ version: 1, devices: { a: { x: tuning('y') } } });
  expect((await readdir(folder)).filter((name) => name.startsWith('killed'))).toEqual(['killed.json']);

  const file = join(folder, 'file');
  await writeFile(file, '');
  const nowhere = nodeTuningStore(join(file, 'tuning.json'));
  await nowhere.save('a', new Map([['x', tuning('v')]]));
  expect(await nowhere.load('a')).toEqual(new Map());
  await mkdir(join(folder, 'is-folder.json'));
  const taken = nodeTuningStore(join(folder, 'is-folder.json'));
  await taken.save('a', new Map([['x', tuning('v')]]));
  expect(await taken.load('a')).toEqual(new Map());
});

test('lies where each system keeps caches', () => {
  expect(cacheFolder({ HOME: '/people/me' }, 'linux')).toBe('/people/me/.cache/compressa');
  expect(cacheFolder({ HOME: '/people/me', XDG_CACHE_HOME: '/cache' }, 'linux')).toBe('/cache/compressa');
  expect(cacheFolder({ HOME: '/Users/me' }, 'darwin')).toBe('/Users/me/Library/Caches/compressa');
  expect(nodeTuningStore(join(folder, 'x')).environment).toMatch(/^Node \d+\.\d+\.\d+, Dawn of webgpu \d/);
});
