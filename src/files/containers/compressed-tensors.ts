import { writeBits } from '../../formats/codes.ts';
import { STORED_FLOATS } from '../../formats/scale-type.ts';
import type { TensorSpec } from '../safetensors-write.ts';
import type { JsonObject } from '../strict-json.ts';
import { bySchemes, type Container, type IntegerMatrix, integerProblem, moduleOf } from './container.ts';
import { groupSize, packedRowBytes, packRows, readGroups } from './integer-arrays.ts';

/** One scheme of `config_groups`. */
const schemeOf = ({ format: { integer } }: IntegerMatrix): JsonObject => ({
  num_bits: integer.bits,
  type: 'int',
  symmetric: integer.zero === 'middle',
  strategy: integer.group === 'row' ? 'channel' : 'group',
  group_size: integer.group === 'row' ? null : integer.group,
  block_structure: null,
  dynamic: false,
  actorder: null,
  observer: 'minmax',
  observer_kwargs: {},
});

/**
 * The format `pack-quantized` of compressed-tensors, which vLLM and Transformers load: weight_packed, int32, holds value + 2^(bits−1) as a stream of bits
 * along each row; weight_scale a scale a group; weight_zero_point, where there are zero points, the same stream down each column of groups; and
 * weight_shape the sizes. w = scale · (value − zero).
 * Source: compressed-tensors, compressors/pack_quantized and its packing of any number of bits without gaps.
 */
export const compressedTensors: Container = {
  name: 'compressed-tensors',
  embeddings: false,
  heads: true,
  suggestion: 'int4-g64',
  metadata: { format: 'pt' },

  problem: (format) =>
    integerProblem(format, (integer) => (integer.zero === 'float' ? 'its zero points are integers' : undefined)),

  tensors({ name, format, rows, k }: IntegerMatrix) {
    const { integer } = format;
    const groups = k / groupSize(format, k);
    const module = moduleOf(name);
    const zeros: TensorSpec = {
      name: `${module}.weight_zero_point`,
      type: 'I32',
      shape: [packedRowBytes(integer.bits, rows) / 4, groups],
    };
    return [
      { name: `${module}.weight_packed`, type: 'I32', shape: [rows, packedRowBytes(integer.bits, k) / 4] },
      { name: `${module}.weight_scale`, type: STORED_FLOATS[integer.scale].element, shape: [rows, groups] },
      ...(integer.zero === 'code' ? [zeros] : []),
      { name: `${module}.weight_shape`, type: 'I64', shape: [2] },
    ];
  },

  codes: packRows,

  rest({ format, rows, k }: IntegerMatrix, arrays) {
    const { bits, zero, scale } = format.integer;
    const size = groupSize(format, k);
    const groups = k / size;
    const scales = arrays.scales!.subarray(0, (rows * groups * STORED_FLOATS[scale].bits) / 8);
    const shape = new Uint8Array(BigInt64Array.of(BigInt(rows), BigInt(k)).buffer);
    if (zero !== 'code') return [scales, shape];
    const { zeros } = readGroups(format, arrays, rows, k, size);
    // Each column of groups is a stream of its own, whose words lie below each other.
    const words = packedRowBytes(bits, rows) / 4;
    const packed = new Uint8Array(4 * words * groups);
    for (let group = 0; group < groups; group++) {
      const column = new Uint8Array(4 * words);
      for (let row = 0; row < rows; row++) writeBits(column, row, bits, zeros[row * groups + group]!);
      for (let word = 0; word < words; word++) {
        packed.set(column.subarray(4 * word, 4 * word + 4), 4 * (word * groups + group));
      }
    }
    return [scales, packed, shape];
  },

  config(matrices: readonly IntegerMatrix[], kept) {
    const schemes = bySchemes(matrices, (matrix) => JSON.stringify(schemeOf(matrix)));
    const groups = schemes.map((group, i) => [
      `group_${i}`,
      {
        // One scheme is for all but those that are ignored; several name their modules.
        targets: schemes.length === 1 ? ['Linear'] : group.map(({ name }) => moduleOf(name)),
        weights: schemeOf(group[0]!),
        input_activations: null,
        output_activations: null,
      },
    ]);
    return {
      quantization_config: {
        quant_method: 'compressed-tensors',
        format: 'pack-quantized',
        quantization_status: 'compressed',
        config_groups: Object.fromEntries(groups),
        ignore: [...kept],
        kv_cache_scheme: null,
      },
    };
  },
};
