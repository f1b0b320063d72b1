import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import * as lowRank from '../../src/low-rank.ts';
import * as main from '../../src/node-index.ts';
import * as reportPage from '../../src/report/html.ts';
import * as sparse from '../../src/sparse.ts';

const entries: Record<string, object> = {
  compressa: main,
  'compressa/low-rank': lowRank,
  'compressa/report-page': reportPage,
  'compressa/sparse': sparse,
};

const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');
const samples = [...readme.matchAll(/```js\n(.*?)```/gs)].map(([, sample]) => sample!);

test('samples import what the package exports, and use all of it', () => {
  expect(samples.length).toBeGreaterThanOrEqual(2);
  for (const sample of samples) {
    const imports = [...sample.matchAll(/import \{([^}]*)\} from '(compressa[^']*)';/g)];
    expect(imports.length).toBeGreaterThan(0);
    for (const [, list, entry] of imports) {
      const names = list!.split(',').map((name) => name.trim());
      expect(Object.keys(entries[entry!]!), entry).toEqual(expect.arrayContaining(names));
      for (const name of names) expect(sample.split(new RegExp(`\\b${name}\\b`)).length, name).toBeGreaterThan(2);
    }
  }
});

test('functions that the text names are exported', () => {
  const exported = Object.values(entries).flatMap(Object.keys);
  const called = [...readme.matchAll(/`(?:await )?([a-z]\w+)\((?![^`]*compressa <)/g)].map(([, name]) => name!);
  expect(called).toContain('openModel');
  for (const name of called) expect(exported).toContain(name);
});
