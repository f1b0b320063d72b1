import { expect, test } from 'vitest';
import { ArgumentError } from '../../../src/errors.ts';
import type { PlannedTensor } from '../../../src/passes/plan.ts';
import { shardIndex, shardsOf } from '../../../src/passes/shards.ts';

/** Tensors of so many bytes each. */
const tensors = (...bytes: number[]): PlannedTensor[] =>
  bytes.map((size, i) => {
    const name = `t${i}`;
    return { name, specs: [{ name, type: 'U8', shape: [size] }] } as unknown as PlannedTensor;
  });

const sizes = (most: number, ...bytes: number[]) =>
  shardsOf(tensors(...bytes), most).map(({ tensors: some }) => some.map(({ name }) => bytes[Number(name.slice(1))]));

test('files are filled in order, up to the size and not beyond', () => {
  expect(sizes(10, 4, 6, 1, 9, 10)).toEqual([[4, 6], [1, 9], [10]]);
  expect(sizes(10, 4, 7, 3, 1)).toEqual([[4], [7, 3], [1]]);
});

test('a tensor that is too large has a file of its own, and empty ones need none', () => {
  expect(sizes(10, 1, 25, 1)).toEqual([[1], [25], [1]]);
  expect(sizes(10, 0, 10, 0, 10, 0)).toEqual([
    [0, 10, 0],
    [10, 0],
  ]);
  expect(sizes(10)).toEqual([[]]);
});

test('names count from one; a single file has the usual name', () => {
  expect(shardsOf(tensors(1, 1), 1).map(({ file }) => file)).toEqual([
    'model-00001-of-00002.safetensors',
    'model-00002-of-00002.safetensors',
  ]);
  expect(shardsOf(tensors(1, 1)).map(({ file }) => file)).toEqual(['model.safetensors']);
});

test('no more files are written than are read', () => {
  const many = tensors(...Array.from({ length: 1025 }, () => 1));
  expect(shardsOf(many.slice(1), 1)).toHaveLength(1024);
  expect(() => shardsOf(many, 1)).toThrow(ArgumentError);
  expect(() => shardsOf(many, 1)).toThrow(/would be 1025 in all; at most 1024 are read/);
});

test('the index names every array of every tensor, in order, and their bytes', () => {
  const [a, b] = tensors(3, 5) as [PlannedTensor, PlannedTensor];
  const text = new TextDecoder().decode(
    shardIndex([
      { file: 'one', tensors: [b] },
      { file: 'two', tensors: [{ ...a, specs: [{ name: '7', type: 'F16', shape: [2, 2] }, ...a.specs] }] },
    ]),
  );
  expect(JSON.parse(text)).toEqual({ metadata: { total_size: 16 }, weight_map: { t1: 'one', 7: 'two', t0: 'two' } });
  expect(text.indexOf('"t1"')).toBeLessThan(text.indexOf('"7"'));
});
