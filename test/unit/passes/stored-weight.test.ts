import { expect, test } from 'vitest';
import { FileError } from '../../../src/errors.ts';
import { openCheckpoint } from '../../../src/files/checkpoint.ts';
import { type TensorSpec, writeSafetensors } from '../../../src/files/safetensors-write.ts';
import { memorySink } from '../../../src/files/sink.ts';
import { memorySource } from '../../../src/files/source.ts';
import { formatByName } from '../../../src/formats/registry.ts';
import { checkWeight, findWeight, readValues, weightsOf } from '../../../src/passes/stored-weight.ts';

const ROWS = 3;
const K = 64;
const format = formatByName('int4-g32-asym');
const values = Float32Array.from({ length: ROWS * K }, (_, i) => Math.sin(i));
const arrays = format.reference.quantize(values, ROWS, K);

interface Changes {
  readonly node?: Record<string, unknown>;
  readonly specs?: (specs: TensorSpec[]) => TensorSpec[];
  readonly parts?: Record<string, string>;
}

/** A file with one quantized weight, as Compressa writes it but for the changes. */
async function file({ node = {}, specs = (s) => s, parts }: Changes = {}) {
  const tensors = specs(
    format.arrays.map((array) => ({
      name: `w.${array.name}`,
      type: array.type,
      shape: [ROWS, array.elementsPerRow(K)],
    })),
  );
  const named = parts ?? { codes: 'w.codes', scales: 'w.scales', zeros: 'w.zeros' };
  const tree = {
    version: 1,
    weights: { w: { kind: 'quantized', format: format.name, group: 32, shape: [ROWS, K], parts: named, ...node } },
  };
  const sink = memorySink();
  const writer = await writeSafetensors(sink, tensors, { compressa: JSON.stringify(tree) });
  for (const { name, shape } of tensors) {
    const bytes = arrays[name.slice(2)]!;
    const length = shape.reduce((a, b) => a * b, name.endsWith('scales') ? 2 : 1);
    await writer.write(name, bytes.subarray(0, length));
  }
  await writer.finish();
  return memorySource('f.safetensors', sink.bytes());
}

test('a well-formed weight is found and its rows are read as the reference dequantizes them', async () => {
  const checkpoint = await openCheckpoint(await file(), { checkWeight });
  expect([...weightsOf(checkpoint).keys()]).toEqual(['w']);
  const weight = findWeight(checkpoint, 'w');
  const all = format.reference.dequantize(arrays, ROWS, K);
  expect(await readValues(checkpoint, weight)).toEqual(all);
  // A row count whose zero points do not fill a word.
  expect(await readValues(checkpoint, weight, 1, 1)).toEqual(all.slice(K, 2 * K));
  expect(() => findWeight(checkpoint, 'v')).toThrow(/there is no weight "v"/);
});

test.each<[string, Changes, RegExp]>([
  ['an unknown format', { node: { format: 'int3-g48' } }, /format "int3-g48", which this version does not know/],
  ['an alias for a format', { node: { format: 'int4-asym' } }, /does not know/],
  ['a group that is not the format’s', { node: { group: 64 } }, /groups of 64, but int4-g32-asym has 32/],
  ['a missing part', { parts: { codes: 'w.codes', scales: 'w.scales' } }, /lacks the part "zeros"/],
  [
    'a part too many',
    { parts: { codes: 'w.codes', scales: 'w.scales', zeros: 'w.zeros', more: 'w.codes' } },
    /has 4 parts/,
  ],
  ['rows that the parts do not have', { node: { shape: [ROWS + 1, K] } }, /needs its part "codes" as U8 \[4,32\]/],
  ['columns that the parts do not have', { node: { shape: [ROWS, 2 * K] } }, /needs its part "codes" as U8 \[3,64\]/],
  ['parts that changed places', { parts: { codes: 'w.scales', scales: 'w.codes', zeros: 'w.zeros' } }, /"codes" as U8/],
  [
    'a flat part',
    { specs: (specs) => specs.map((s) => (s.name === 'w.codes' ? { ...s, shape: [ROWS * (K / 2)] } : s)) },
    /"codes" as U8 \[3,32\], but that is U8 \[96\]/,
  ],
])('%s is refused', async (_, changes, message) => {
  const run = openCheckpoint(await file(changes), { checkWeight });
  await expect(run).rejects.toThrow(FileError);
  await expect(run).rejects.toThrow(message);
  // Also where the checkpoint was opened without the check.
  const unchecked = await openCheckpoint(await file(changes));
  expect(() => findWeight(unchecked, 'w')).toThrow(message);
});
