import { expect, test } from 'vitest';
import { openCheckpoint } from '../../../src/files/checkpoint.ts';
import { type TensorSpec, writeSafetensors } from '../../../src/files/safetensors-write.ts';
import { memorySink } from '../../../src/files/sink.ts';
import { memorySource } from '../../../src/files/source.ts';
import { formatByName } from '../../../src/formats/registry.ts';
import { checkWeight } from '../../../src/passes/stored-weight.ts';
import { planVerification } from '../../../src/verify/plan.ts';

const [ROWS, K] = [8, 64];
const q8 = formatByName('q8_0');

/** A file with one weight of zeros in q8_0, F16 or F32; and a bare vector, to make one file larger than another. */
async function model(kind: 'q8_0' | 'F16' | 'F32', extra: 'F16' | 'F32') {
  const parts = q8.arrays.map((array): TensorSpec => {
    return { name: `w.${array.name}`, type: array.type, shape: [ROWS, array.elementsPerRow(K)] };
  });
  const specs: TensorSpec[] = kind === 'q8_0' ? parts : [{ name: 'w', type: kind, shape: [ROWS, K] }];
  const names = Object.fromEntries(q8.arrays.map(({ name }) => [name, `w.${name}`]));
  const weights = { w: { kind: 'quantized', format: q8.name, group: 32, shape: [ROWS, K], parts: names } };
  const tree = { compressa: JSON.stringify({ version: 1, weights }) };
  const all: TensorSpec[] = [...specs, { name: 'extra', type: extra, shape: [1000] }];
  const sink = memorySink();
  const writer = await writeSafetensors(sink, all, kind === 'q8_0' ? tree : {});
  const bytesOf = { F32: 4, F16: 2 } as Readonly<Record<string, number>>;
  for (const { name, type, shape } of all) {
    await writer.write(name, new Uint8Array(shape.reduce((a, b) => a * b, bytesOf[type] ?? 1)));
  }
  await writer.finish();
  return openCheckpoint(memorySource(`${kind}.safetensors`, sink.bytes()), { checkWeight });
}

const notes = (original: Awaited<ReturnType<typeof model>>, compressed: typeof original) =>
  planVerification(original, compressed).notes.filter((note) => note.includes('right way round'));

test('a first model that alone is compressed may be the second, also where it is the larger one', async () => {
  const [small, large] = [await model('q8_0', 'F16'), await model('q8_0', 'F32')];
  const plain = await model('F16', 'F16');
  for (const first of [small, large]) {
    expect(notes(first, plain)).toEqual([
      expect.stringMatching(/^The first model is compressed, in 1 of its tensors,/),
    ]);
  }
  expect(notes(plain, small)).toEqual([]);
  expect(notes(small, small)).toEqual([]);
});

test('so may one that is smaller than the second', async () => {
  const [half, full] = [await model('F16', 'F16'), await model('F32', 'F16')];
  expect(notes(half, full)).toEqual([expect.stringMatching(/^The second model is larger than the first/)]);
  expect(notes(full, half)).toEqual([]);
});
