import { expect, test } from 'vitest';
import { formatByName } from '../../../src/formats/registry.ts';
import type { Gpu } from '../../../src/gpu/gpu.ts';
import type { AttentionNeed, LinearNeed } from '../../../src/graph/variant-choice.ts';
import { CACHE_TYPES } from '../../../src/kernels/cache.ts';
import { attentionVersion } from '../../../src/tuner/attention-work.ts';
import { linearVersion } from '../../../src/tuner/linear-work.ts';
import { memoryTuningStore, type Tuning } from '../../../src/tuner/store.ts';
import { Tuner } from '../../../src/tuner/tuner.ts';

const description = { vendor: 'acme', architecture: 'one', device: 'a', description: 'driver 1', software: false };
const gpuOf = (given: Partial<Gpu> = {}) =>
  ({ description, features: new Set(['subgroups']), subgroupLanes: 32, matrixSides: [], ...given }) as Gpu;

test('how integers are multiplied is part of the version of products of integers, and only of those', () => {
  const [packed, floats] = [true, false].map((multipliesPacked) =>
    gpuOf({ selfTest: { multipliesPacked } as NonNullable<Gpu['selfTest']> }),
  ) as [Gpu, Gpu];
  const need = (format: string): LinearNeed => ({
    ...{ kind: 'linear', format: formatByName(format), rows: 64, k: 256, tokens: 1 },
  });
  expect(linearVersion(packed, need('w8a8'))).not.toBe(linearVersion(floats, need('w8a8')));
  expect(linearVersion(packed, need('q4_0'))).toBe(linearVersion(floats, need('q4_0')));
});

test('the type of the caches is part of the version of attention', () => {
  const need: Omit<AttentionNeed, 'cache'> = {
    ...{ kind: 'attention', heads: 4, kvHeads: 2, headDim: 64, tokens: 1, positions: 256 },
  };
  const versions = CACHE_TYPES.map((cache) => attentionVersion(gpuOf(), { ...need, cache }));
  expect(new Set(versions).size).toBe(CACHE_TYPES.length);
});

test('what was found holds for the device, its driver, features and environment that it was found on', async () => {
  const store = memoryTuningStore('here');
  const tuning: Tuning = {
    ...{ variant: 'v', kernels: 'k', mode: 'quick', clear: true, contests: 1, seconds: { v: 1 } },
  };
  let name = '';
  const naming = { ...store, load: (device: string) => store.load((name = device)) };
  const factsOf = (gpu: Gpu, environment = 'here') =>
    new Tuner(gpu, { mode: 'quick', store: { ...naming, environment } }).facts();
  await factsOf(gpuOf());
  await store.save(name, new Map([['shape', tuning]]));
  expect(await factsOf(gpuOf())).toEqual([{ shape: 'shape', ...tuning }]);
  for (const other of [
    { description: { ...description, vendor: 'other' } },
    { description: { ...description, architecture: 'two' } },
    { description: { ...description, device: 'b' } },
    { description: { ...description, description: 'driver 2' } },
    { features: new Set(['subgroups', 'shader-f16']) },
    { subgroupLanes: 16 },
  ]) {
    expect(await factsOf(gpuOf(other)), JSON.stringify(other)).toEqual([]);
  }
  expect(await factsOf(gpuOf(), 'another version')).toEqual([]);
});
