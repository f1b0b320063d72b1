import { NESTED } from '../../formats/double-quantize.ts';
import { DYNAMIC_MAP } from '../../formats/dynamic-map.ts';
import type { ElementType } from '../../formats/format.ts';
import { GROUP, LEVELS } from '../../formats/nf4.ts';
import type { TensorSpec } from '../safetensors-write.ts';
import type { JsonObject } from '../strict-json.ts';
import { type ContainedMatrix, type Container, moduleOf } from './container.ts';

/** As torch calls the types that a matrix may have had. */
const TORCH_TYPES: Partial<Record<ElementType, string>> = { F32: 'float32', F16: 'float16', BF16: 'bfloat16' };
const torchType = ({ type }: ContainedMatrix): string => TORCH_TYPES[type] ?? 'float16';

const isDouble = ({ format }: ContainedMatrix): boolean => format.single !== undefined;
const groupsOf = ({ rows, k }: ContainedMatrix): number => (rows * k) / GROUP;

/** The numbers of a double quantization besides what are tensors. */
const state = (matrix: ContainedMatrix, offset: number): JsonObject => ({
  quant_type: 'nf4',
  blocksize: GROUP,
  dtype: torchType(matrix),
  shape: [matrix.rows, matrix.k],
  ...(isDouble(matrix) && { nested_blocksize: NESTED, nested_dtype: 'float32', nested_offset: offset }),
});

/** Letters of a number in JSON, at most: -1.7976931348623157e+308. */
const NUMBER_LETTERS = 24;

/** Bytes of the state whatever the offset, so that with the scales before them, which are bytes too, they end at a whole word: readers want floats aligned. */
function stateBytes(matrix: ContainedMatrix): number {
  const least = JSON.stringify(state(matrix, 0)).length + NUMBER_LETTERS;
  const before = isDouble(matrix) ? groupsOf(matrix) : 0;
  return Math.ceil((before + least) / 4) * 4 - before;
}

const floatBytes = (numbers: readonly number[]): Uint8Array => new Uint8Array(Float32Array.from(numbers).buffer);

/**
 * 4-bit matrices of bitsandbytes, as Transformers saves and loads them: `weight`, two codes a byte, the first in the high nibble; `weight.absmax`, a scale for
 * 64 weights; `weight.quant_map`, the levels; with double quantization also `weight.nested_absmax` and `weight.nested_quant_map`; and in
 * `weight.quant_state.bitsandbytes__nf4` the rest as JSON. Linear matrices only: Transformers keeps embeddings and heads.
 * Source: bitsandbytes, `QuantState.as_dict` and `pack_dict_to_tensor`; Transformers, `BitsAndBytesConfig`.
 */
export const bitsAndBytes: Container = {
  name: 'bitsandbytes',
  embeddings: false,
  heads: false,
  suggestion: 'nf4',
  metadata: { format: 'pt' },

  problem: ({ name }) => (name === 'nf4' || name === 'nf4-f32' ? undefined : 'it holds nf4 and nf4-f32 only'),

  tensors(matrix) {
    const name = `${moduleOf(matrix.name)}.weight`;
    const groups = groupsOf(matrix);
    const floats = (part: string, count: number): TensorSpec => ({
      name: `${name}.${part}`,
      type: 'F32',
      shape: [count],
    });
    return [
      { name, type: 'U8', shape: [(matrix.rows * matrix.k) / 2, 1] },
      floats('quant_map', LEVELS.length),
      ...(isDouble(matrix)
        ? [
            floats('nested_absmax', Math.ceil(groups / NESTED)),
            floats('nested_quant_map', DYNAMIC_MAP.length),
            { name: `${name}.absmax`, type: 'U8' as const, shape: [groups] },
          ]
        : [floats('absmax', groups)]),
      { name: `${name}.quant_state.bitsandbytes__nf4`, type: 'U8', shape: [stateBytes(matrix)] },
    ];
  },

  codes(_format, codes, rows, k) {
    const out = new Uint8Array((rows * k) / 2);
    // Our words hold weights 0 … 3 in the low nibbles of their bytes and 4 … 7 in the high ones.
    for (let at = 0; at < out.length; at += 4) {
      const [a, b, c, d] = [codes[at]!, codes[at + 1]!, codes[at + 2]!, codes[at + 3]!];
      out[at] = ((a & 15) << 4) | (b & 15);
      out[at + 1] = ((c & 15) << 4) | (d & 15);
      out[at + 2] = (a & 0xf0) | (b >> 4);
      out[at + 3] = (c & 0xf0) | (d >> 4);
    }
    return out;
  },

  rest(matrix, arrays) {
    const levels = floatBytes(LEVELS);
    const scales = arrays.scales!.subarray(0, groupsOf(matrix) * (isDouble(matrix) ? 1 : 4));
    if (!isDouble(matrix)) return [levels, scales, packedState(matrix, 0)];
    const view = new DataView(arrays.nested!.buffer, arrays.nested!.byteOffset, arrays.nested!.byteLength);
    const nested = Array.from({ length: view.byteLength / 8 }, (_, block) => view.getFloat32(8 * block, true));
    // The same in all blocks.
    const offset = view.getFloat32(4, true);
    return [levels, floatBytes(nested), floatBytes(DYNAMIC_MAP), scales, packedState(matrix, offset)];
  },

  config(matrices, kept) {
    return {
      quantization_config: {
        quant_method: 'bitsandbytes',
        load_in_4bit: true,
        load_in_8bit: false,
        bnb_4bit_quant_type: 'nf4',
        bnb_4bit_use_double_quant: matrices.some(isDouble),
        bnb_4bit_compute_dtype: torchType(matrices[0]!),
        bnb_4bit_quant_storage: 'uint8',
        llm_int8_skip_modules: [...kept],
      },
    };
  },
};

/** JSON, with spaces behind it up to the bytes that were announced. */
const packedState = (matrix: ContainedMatrix, offset: number): Uint8Array =>
  new TextEncoder().encode(JSON.stringify(state(matrix, offset)).padEnd(stateBytes(matrix)));
