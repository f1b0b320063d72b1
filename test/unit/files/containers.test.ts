import { describe, expect, test } from 'vitest';
import {
  decodeBitsAndBytes,
  decodeMlx,
  decodePackQuantized,
  type FileTensor,
} from '../../../bench/container-decoders.ts';
import { FormatError } from '../../../src/errors.ts';
import { bitsAndBytes } from '../../../src/files/containers/bitsandbytes.ts';
import { compressedTensors } from '../../../src/files/containers/compressed-tensors.ts';
import type { ContainedMatrix, Container, IntegerFormat } from '../../../src/files/containers/container.ts';
import { mlx } from '../../../src/files/containers/mlx.ts';
import { byteLengthOf } from '../../../src/files/safetensors-write.ts';
import type { Format } from '../../../src/formats/format.ts';
import { contentBytes } from '../../../src/formats/layout.ts';
import { formatByName } from '../../../src/formats/registry.ts';
import { randomSource } from '../../gpu/random.ts';

const BITS = [8, 4, 3, 2];
const ZEROS = ['', '-asym', '-fzp'];
const SCALES = ['', '-f32', '-bf16'];
const GROUPS = ['g16', 'g32', 'g64', 'g128', 'g256', 'row'];
const names = BITS.flatMap((bits) =>
  ZEROS.flatMap((zero) => SCALES.flatMap((scale) => GROUPS.map((group) => `int${bits}-${group}${zero}${scale}`))),
);
const integer = (name: string) => formatByName(name) as IntegerFormat;

/** A random matrix in a format, and the tensors that a container makes of it, codes in two pieces. */
function contained(container: Container, format: Format, rows: number, k: number, seed: number) {
  const next = randomSource(seed);
  const weights = Float32Array.from({ length: rows * k }, () => (next() - 0.4) * 0.1);
  const arrays = format.reference.quantize(weights, rows, k);
  const matrix: ContainedMatrix = { name: 'm.q.weight', format, type: 'BF16', rows, k };
  const [codes, ...others] = container.tensors(matrix);
  const layout = format.arrays[0]!;
  const cut = rows > 8 ? 8 : 0;
  const at = contentBytes(layout, cut, k);
  const pieces = [arrays.codes!.subarray(0, at), arrays.codes!.subarray(at)];
  const first = [...container.codes(format, pieces[0]!, cut, k), ...container.codes(format, pieces[1]!, rows - cut, k)];
  const { codes: _, ...rest } = arrays;
  const bytes = [Uint8Array.from(first), ...container.rest(matrix, rest)];
  const specs = [codes!, ...others];
  expect(bytes.map(({ length }) => length)).toEqual(specs.map(byteLengthOf));
  const tensors = new Map<string, FileTensor>(
    specs.map((spec, i) => [spec.name, { dtype: spec.type, shape: spec.shape, bytes: bytes[i]!.slice() }]),
  );
  return { tensors, matrix, wanted: format.reference.dequantize(arrays, rows, k) };
}

/** Odd numbers of rows, and one that fills the words of zero points. */
const ROWS = [1, 11, 64];

describe('pack-quantized decodes to the same weights, bit for bit', () => {
  test.each(names.filter((name) => !name.includes('fzp')))('%s', (name) => {
    const format = integer(name);
    expect(compressedTensors.problem(format)).toBeUndefined();
    for (const [i, rows] of ROWS.entries()) {
      const k = format.block * (format.block > 64 ? 2 : 3);
      const { tensors, wanted } = contained(compressedTensors, format, rows, k, 7 + i);
      const got = Float32Array.from(decodePackQuantized(tensors, 'm.q', format.integer.bits));
      expect(got.findIndex((value, at) => value !== wanted[at])).toBe(-1);
    }
  });
});

describe('MLX decodes to the same weights, up to the rounding of its biases', () => {
  test.each(names.filter((name) => /-g(32|64|128)/.test(name)))('%s', (name) => {
    const format = integer(name);
    const { bits, group, zero, scale } = format.integer;
    expect(mlx.problem(format)).toBeUndefined();
    for (const [i, rows] of ROWS.entries()) {
      const { tensors, wanted } = contained(mlx, format, rows, 3 * format.block, 17 + i);
      const got = decodeMlx(tensors, 'm.q', { bits, group_size: group as number });
      // Half a unit in the last place of the bias; symmetric ones are powers of two times the scale. And the rounding of ours to f32.
      const precision = { f16: 2 ** -11, bf16: 2 ** -8, f32: 2 ** -24 }[scale];
      const largest = wanted.reduce((most, w) => Math.max(most, Math.abs(w)), 0) * 2 ** bits;
      const allowed = zero === 'middle' ? 0 : precision * largest;
      const beyond = (w: number, at: number) =>
        !(Math.abs(got[at]! - w) <= allowed + Math.abs(w) * 2 ** -24 + 2 ** -140);
      expect(wanted.findIndex(beyond)).toBe(-1);
    }
  });
});

describe('bitsandbytes', () => {
  test.each(['nf4', 'nf4-f32'])('%s', (name) => {
    const format = formatByName(name);
    expect(bitsAndBytes.problem(format)).toBeUndefined();
    // Numbers of groups that fill no word, one block of 256, or several in part.
    for (const [rows, k] of [
      [1, 64],
      [11, 192],
      [64, 256],
      [65, 320],
    ] as const) {
      const { tensors, wanted } = contained(bitsAndBytes, format, rows, k, rows);
      expect(decodeBitsAndBytes(tensors, 'm.q')).toEqual(wanted);
      const state = JSON.parse(
        new TextDecoder().decode(tensors.get('m.q.weight.quant_state.bitsandbytes__nf4')!.bytes),
      );
      const { nested_offset: offset, ...rest } = state;
      expect(typeof offset).toBe(name === 'nf4' ? 'number' : 'undefined');
      expect(rest).toEqual({
        quant_type: 'nf4',
        blocksize: 64,
        dtype: 'bfloat16',
        shape: [rows, k],
        ...(name === 'nf4' && { nested_blocksize: 256, nested_dtype: 'float32' }),
      });
      // Floats start at whole words.
      let at = 0;
      for (const { dtype, bytes } of tensors.values()) {
        if (dtype === 'F32') expect(at % 4).toBe(0);
        at += bytes.length;
      }
      expect(at % 4).toBe(0);
    }
  });

  test('two codes a byte, the first in the high nibble', () => {
    const format = formatByName('nf4');
    // Levels 0 … 15 in turn.
    const weights = Float32Array.from({ length: 64 }, (_, i) => format.grid!.levels[i % 16]!);
    const { codes } = format.reference.quantize(weights, 1, 64);
    const packed = bitsAndBytes.codes(format, codes!, 1, 64);
    expect([...packed.subarray(0, 8)]).toEqual([0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef]);
  });
});

test('what containers can’t hold is named', () => {
  expect(bitsAndBytes.problem(formatByName('q4_0'))).toMatch(/nf4 and nf4-f32/);
  expect(mlx.problem(formatByName('nf4'))).toMatch(/integer groups/);
  expect(compressedTensors.problem(integer('int4-g64-fzp'))).toMatch(/integers/);
  expect(mlx.problem(integer('int4-g16'))).toMatch(/32, 64, 128/);
  expect(mlx.problem(integer('int4-row-asym'))).toMatch(/32, 64, 128/);
});

test('a bias beyond the type of the scales is refused', () => {
  const format = integer('int8-g32');
  const arrays = format.reference.quantize(new Float32Array(32).fill(60000 * 127), 1, 32);
  const matrix: ContainedMatrix = { name: 'm.weight', format, type: 'F16', rows: 1, k: 32 };
  expect(() => mlx.rest(matrix, arrays)).toThrow(FormatError);
  expect(() => mlx.rest(matrix, arrays)).toThrow(/"m.weight".*int8-g32-f32/);
});

test('three-bit codes take 32 in three words, from the lowest bit on', () => {
  const format = integer('int3-g32');
  // Scale −1 for the largest magnitude −(−4): codes are 4 + w / scale.
  const weights = Float32Array.from({ length: 32 }, (_, i) => (i % 8) - 4);
  const { codes } = format.reference.quantize(weights, 1, 32);
  const packed = compressedTensors.codes(format, codes!, 1, 32);
  const wanted = new Uint8Array(12);
  for (let i = 0; i < 32; i++) {
    for (let bit = 0; bit < 3; bit++) {
      const at = 3 * i + bit;
      wanted[at >> 3]! |= (((i % 8) >> bit) & 1) << (at & 7);
    }
  }
  expect(packed).toEqual(wanted);
});

describe('config.json', () => {
  const matrix = (name: string, format: string): ContainedMatrix => ({
    name: `${name}.weight`,
    format: integer(format),
    type: 'F32',
    rows: 8,
    k: 256,
  });

  test('one scheme is for all linear modules but those that are kept', () => {
    const { quantization_config: config } = compressedTensors.config(
      [matrix('a.q', 'int4-g64')],
      ['a.k', 'lm_head'],
    ) as never;
    expect(config).toMatchObject({
      quant_method: 'compressed-tensors',
      format: 'pack-quantized',
      ignore: ['a.k', 'lm_head'],
      config_groups: {
        group_0: {
          targets: ['Linear'],
          weights: { num_bits: 4, type: 'int', symmetric: true, strategy: 'group', group_size: 64 },
        },
      },
    });
  });

  test('several schemes name their modules', () => {
    const matrices = [matrix('a', 'int4-g64-asym'), matrix('b', 'int8-row'), matrix('c', 'int4-g64-asym-f32')];
    expect(compressedTensors.config(matrices, [])).toMatchObject({
      quantization_config: {
        config_groups: {
          group_0: { targets: ['a', 'c'], weights: { num_bits: 4, symmetric: false, group_size: 64 } },
          group_1: { targets: ['b'], weights: { num_bits: 8, strategy: 'channel', group_size: null } },
        },
      },
    });
    const others = [matrix('a', 'int4-g64-asym'), matrix('b', 'int8-g32'), matrix('c', 'int4-g64')];
    expect(mlx.config(others, [])).toEqual({
      quantization: { group_size: 64, bits: 4, mode: 'affine', b: { group_size: 32, bits: 8 } },
    });
  });
});
