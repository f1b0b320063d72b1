import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { FormatError } from '../../src/errors.ts';
import { openCheckpoint } from '../../src/files/checkpoint.ts';
import { ELEMENT_BYTES } from '../../src/files/element-type.ts';
import { float8Values, isFloat8 } from '../../src/files/float8.ts';
import { memoryFolder } from '../../src/files/model-files.ts';
import { readSafetensors } from '../../src/files/safetensors-read.ts';
import { byteLengthOf, type TensorSpec, writeSafetensors } from '../../src/files/safetensors-write.ts';
import { memorySink } from '../../src/files/sink.ts';
import { memorySource } from '../../src/files/source.ts';
import type { ElementType } from '../../src/formats/format.ts';
import type { Gpu } from '../../src/gpu/gpu.ts';
import { openModel } from '../../src/model.ts';
import { compress } from '../../src/passes/compress.ts';
import { openTestGpu } from './open-test-gpu.ts';

let gpu: Gpu;
beforeAll(async () => {
  gpu = await openTestGpu();
});
afterAll(() => gpu?.close());

const types = (Object.keys(ELEMENT_BYTES) as ElementType[]).filter((type) => !['F32', 'F16', 'BF16'].includes(type));
const specs: TensorSpec[] = [
  ...types.map((type): TensorSpec => ({ name: `${type}.weight`, type, shape: [40, 64] })),
  { name: 'dense.weight', type: 'F32', shape: [40, 64] },
];
const contents = new Map(
  specs.map((spec, seed) => {
    const bytes = Uint8Array.from({ length: byteLengthOf(spec) }, (_, i) => (i * 37 + seed * 11) % 256);
    // No NaN: those are refused. The high half of an f64, or all of an f32, below the exponent of all ones.
    if (spec.type === 'F64' || spec.type === 'F32') {
      for (let i = ELEMENT_BYTES[spec.type] - 1; i < bytes.length; i += ELEMENT_BYTES[spec.type]) bytes[i] = 0x3d;
    }
    if (isFloat8(spec.type)) {
      const values = float8Values(spec.type);
      for (const [i, code] of bytes.entries()) if (Number.isNaN(values[code]!)) bytes[i] = 0x11;
    }
    return [spec.name, bytes] as const;
  }),
);

// In one piece, and eight rows at a time, where types of less than a byte are cut.
test.each([undefined, 1])(
  'matrices that no format quantizes are copied byte for byte (chunks: %s)',
  async (chunkBytes) => {
    const input = memorySink();
    const writer = await writeSafetensors(input, specs);
    for (const { name } of specs) await writer.write(name, contents.get(name)!);
    await writer.finish();
    const output = memorySink('out.safetensors');
    const report = await compress(memorySource('in.safetensors', input.bytes()), output, {
      gpu,
      format: 'q8_0',
      ...(chunkBytes && { chunkBytes }),
    });
    expect(report.tensors.map(({ name, format }) => [name, format])).toEqual(
      expect.arrayContaining([
        ...types.map((type) => [`${type}.weight`, type.toLowerCase()]),
        ['dense.weight', 'q8_0'],
      ]),
    );
    for (const type of ['F64', 'F8_E4M3', 'F8_E5M2', 'F8_E4M3FNUZ', 'F8_E5M2FNUZ']) {
      expect(report.notices).toContainEqual(expect.stringContaining(`"${type}.weight" is kept`));
    }
    const checkpoint = await openCheckpoint(memorySource('out.safetensors', output.bytes()));
    for (const type of types) {
      const name = `${type}.weight`;
      expect(checkpoint.tensors.get(name)).toMatchObject({ type, shape: [40, 64] });
      expect(Buffer.compare(await checkpoint.read(name), contents.get(name)!), name).toBe(0);
    }
    await checkpoint.close();
  },
);

test.each([
  ['F8_E4M3', 0x7f],
  ['F8_E5M2', 0xfd],
  ['F8_E4M3FNUZ', 0x80],
  ['F8_E5M2FNUZ', 0x80],
] as const)('NaN among copied elements of %s is refused, by row and column', async (type, nan) => {
  const input = memorySink();
  const writer = await writeSafetensors(input, [{ name: 'w', type, shape: [3, 32] }]);
  const codes = new Uint8Array(96).fill(0x21);
  codes[70] = nan;
  await writer.write('w', codes);
  await writer.finish();
  const source = memorySource('in.safetensors', input.bytes());
  await expect(compress(source, memorySink('out.safetensors'), { gpu, format: 'q8_0' })).rejects.toThrow(
    expect.objectContaining({
      code: 'NON_FINITE',
      message: expect.stringMatching(/row 2, column 6 of tensor "w" is NaN/),
    }),
  );
});

test('a model with a matrix of eight bits does not run on numbers that lack their scales', async () => {
  const name = 'model.layers.3.self_attn.q_proj.weight';
  const files = ['config.json', 'tokenizer.json', 'model.safetensors'].map(
    (file) => [file, new Uint8Array(readFileSync(`models/union-7m/${file}`))] as const,
  );
  const sample = await readSafetensors(memorySource('sample', Object.fromEntries(files)['model.safetensors']!));
  const tensors = await Promise.all(
    [...sample.tensors.values()].map(async (info) => {
      const data = await sample.read(info);
      return info.name === name
        ? { ...info, type: 'F8_E4M3' as const, data: data.subarray(data.byteLength / 2) }
        : { ...info, data };
    }),
  );
  const sink = memorySink();
  const writer = await writeSafetensors(sink, tensors);
  for (const { name: tensor, data } of tensors) await writer.write(tensor, data);
  await writer.finish();
  const model = memoryFolder('f8', { ...Object.fromEntries(files), 'model.safetensors': sink.bytes() });
  const before = gpu.memory.bytesInUse;
  const run = openModel(model, { gpu, maxPositions: 16 });
  await expect(run).rejects.toThrow(FormatError);
  await expect(run).rejects.toThrow(/F8_E4M3 are not weights by themselves/);
  expect(gpu.memory.bytesInUse).toBe(before);
});
