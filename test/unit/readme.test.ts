import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import * as exported from '../../src/node-index.ts';

const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');
const samples = [...readme.matchAll(/```js\n(.*?)```/gs)].map(([, sample]) => sample!);

test('samples import what the package exports, and use all of it', () => {
  expect(samples.length).toBeGreaterThanOrEqual(2);
  for (const sample of samples) {
    const names = /import \{([^}]*)\} from 'compressa';/
      .exec(sample)![1]!
      .split(',')
      .map((name) => name.trim());
    expect(Object.keys(exported)).toEqual(expect.arrayContaining(names));
    for (const name of names) expect(sample.split(new RegExp(`\\b${name}\\b`)).length, name).toBeGreaterThan(2);
  }
});

test('functions that the text names are exported', () => {
  const called = [...readme.matchAll(/`(?:await )?([a-z]\w+)\((?![^`]*compressa <)/g)].map(([, name]) => name!);
  expect(called).toContain('openModel');
  for (const name of called) expect(exported).toHaveProperty(name);
});
