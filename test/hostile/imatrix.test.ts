import { expect, test } from 'vitest';
import { FileError } from '../../src/errors.ts';
import { readImatrix } from '../../src/files/gguf/imatrix-read.ts';
import { memorySource } from '../../src/files/source.ts';
import { entry, f32, gguf, type Info, info, join, string, T, u32 } from '../unit/files/fixtures/gguf-bytes.ts';

const target = { name: 'model.layers.0.mlp.down_proj.weight', shape: [2, 4], role: 'linear' };
const NAME = 'blk.0.ffn_down.weight';
const IMATRIX = entry('general.type', T.STRING, string('imatrix'));

interface Parts {
  readonly sums?: Info;
  readonly counts?: Info;
  readonly values?: readonly number[];
  readonly count?: readonly number[];
  readonly entries?: readonly Uint8Array[];
}

const padded = (values: readonly number[]): Uint8Array => {
  const bytes = join(...values.map(f32));
  return join(bytes, new Uint8Array((32 - (bytes.byteLength % 32)) % 32));
};

/** A file of one matrix; each part may be wrong. */
function file({
  sums,
  counts,
  values = [1, 2, 3, 4],
  count = [2],
  entries = [IMATRIX],
}: Parts): Uint8Array<ArrayBuffer> {
  const first = padded(values);
  return gguf({
    entries,
    tensors: [
      info({ name: `${NAME}.in_sum2`, dims: [values.length], ...sums }),
      info({ name: `${NAME}.counts`, dims: [count.length], offset: first.byteLength, ...counts }),
    ],
    data: join(first, padded(count)),
  });
}

const text = (value: string) => new TextEncoder().encode(value);
const legacy = (...parts: Uint8Array[]) => join(u32(1), u32(NAME.length), text(NAME), ...parts);
const four = [1, 2, 3, 4].map(f32);

const HOSTILE: [string, Uint8Array<ArrayBuffer>, RegExp][] = [
  // GGUF files.
  [
    'a model',
    file({ entries: [entry('general.type', T.STRING, string('model'))] }),
    /general\.type is "model", not "imatrix"/,
  ],
  ['no type', file({ entries: [] }), /general\.type is "missing"/],
  ['a type that is a number', file({ entries: [entry('general.type', T.U32, u32(7))] }), /general\.type is "7"/],
  ['no matrix at all', gguf({ entries: [IMATRIX] }), /no statistics of "model\.layers\.0\.mlp\.down_proj\.weight"/],
  [
    'a layer more than the model has',
    file({ sums: { name: 'blk.1.ffn_down.weight.in_sum2' }, counts: { name: 'blk.1.ffn_down.weight.counts' } }),
    /no matrix "blk\.1\.ffn_down\.weight".*another model/,
  ],
  ['a name that GGUF has not', file({ sums: { name: 'x.in_sum2' }, counts: { name: 'x.counts' } }), /no matrix "x"/],
  [
    'a norm',
    file({ sums: { name: 'output_norm.weight.in_sum2' }, counts: { name: 'output_norm.weight.counts' } }),
    /no matrix "output_norm\.weight"/,
  ],
  [
    'columns of another model',
    file({ values: [1, 2, 3, 4, 5, 6, 7, 8] }),
    /statistics of 8 columns, the model's matrix has 4.*another model/,
  ],
  [
    'experts',
    file({ values: [1, 2, 3, 4, 1, 2, 3, 4], sums: { dims: [4, 2] }, count: [1, 1] }),
    /statistics of 8 columns/,
  ],
  [
    'sums without counts',
    file({ counts: { name: 'other.counts' } }),
    /in_sum2" is there without "blk\.0\.ffn_down\.weight\.counts"/,
  ],
  ['two counts', file({ count: [1, 2] }), /counts" has the shape \[2\]; 1 number/],
  ['counts of another type', file({ counts: { type: 26 } }), /counts" is i32; statistics are f32/],
  ['sums of another type', file({ sums: { type: 26 } }), /in_sum2" is i32; statistics are f32/],
  ['a negative sum', file({ values: [1, -1, 1, 1] }), /column 1 .* sum of -1/],
  ['an infinite sum', file({ values: [1, 1, 1, Number.POSITIVE_INFINITY] }), /column 3 .* sum of Infinity/],
  ['a sum that is NaN', file({ values: [Number.NaN, 1, 1, 1] }), /column 0 .* sum of NaN/],
  ['a negative count', file({ count: [-2] }), /count of -2/],
  ['a count that is NaN', file({ count: [Number.NaN] }), /count of NaN/],
  ['an infinite count', file({ count: [Number.POSITIVE_INFINITY] }), /count of Infinity/],
  ['truncated data', file({}).slice(0, -33), /truncated/],
  [
    'datasets that are numbers',
    file({ entries: [IMATRIX, entry('imatrix.datasets', T.U32, u32(1))] }),
    /"imatrix\.datasets" is no array of strings/,
  ],
  // The older form.
  ['nothing', new Uint8Array(0), /the number of matrices .* takes 4 bytes/],
  ['zeros', new Uint8Array(64), /the number of matrices at offset 0 is 0/],
  ['a negative number of matrices', u32(0xffff_ffff) as Uint8Array<ArrayBuffer>, /is -1; 1 to 65536/],
  ['a safetensors file', join(u32(64), u32(0), text('{"a":{}}'.padEnd(64))), /the calls of matrix 0|no matrix ""/],
  [
    'a name of 2^31 bytes',
    join(u32(1), u32(0x7fff_ffff)),
    /the length of the name of matrix 0 at offset 4 is 2147483647/,
  ],
  ['a name that ends early', join(u32(1), u32(20), text('blk')), /name of matrix 0 at offset 8 takes 20 bytes/],
  ['a name that is no UTF-8', join(u32(1), u32(2), Uint8Array.of(0xff, 0xfe), u32(1), u32(4)), /not valid UTF-8/],
  ['2^31 - 1 columns', legacy(u32(1), u32(0x7fff_ffff)), /statistics of 2147483647 columns/],
  ['negative calls', legacy(u32(0x8000_0000), u32(4), ...four), /the calls of matrix 0 at offset \d+ is -2147483648/],
  ['sums that end early', legacy(u32(1), u32(4), f32(1)), /the sums of matrix 0 at offset \d+ takes 16 bytes/],
  [
    'the same matrix twice',
    join(u32(2), legacy(u32(1), u32(4), ...four).slice(4), legacy(u32(1), u32(4), ...four).slice(4)),
    /"blk\.0\.ffn_down\.weight" is there twice/,
  ],
  [
    'bytes behind the end',
    legacy(u32(1), u32(4), ...four, u32(1), u32(0), u32(7)),
    /4 bytes at offset \d+ belong to nothing/,
  ],
];

test.each(HOSTILE)('%s', async (_what, bytes, message) => {
  const read = readImatrix(memorySource('bad.imatrix', bytes), [target]);
  const error = await read.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(FileError);
  expect((error as Error).message).toMatch(/^bad\.imatrix: /);
  expect((error as Error).message).toMatch(message);
});

test('every truncation and every flipped byte of a small file is refused by name or read', async () => {
  const whole = file({});
  for (let i = 0; i < whole.byteLength; i++) {
    const flipped = whole.slice();
    flipped[i]! ^= 0x81;
    for (const bytes of [whole.slice(0, i), flipped]) {
      const outcome = await readImatrix(memorySource('bad.imatrix', bytes), [target]).catch(
        (reason: unknown) => reason,
      );
      if (outcome instanceof Error) expect(outcome).toBeInstanceOf(FileError);
      else expect(outcome).toHaveProperty('importance');
    }
  }
});
