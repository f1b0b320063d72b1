import { FormatError } from '../../errors.ts';
import { STORED_FLOATS } from '../../formats/scale-type.ts';
import type { JsonObject } from '../strict-json.ts';
import { quote } from '../text.ts';
import { bySchemes, type Container, type IntegerMatrix, integerProblem, moduleOf } from './container.ts';
import { groupSize, packedRowBytes, packRows, readGroups } from './integer-arrays.ts';

const GROUPS: readonly unknown[] = [32, 64, 128];

const schemeOf = ({ format: { integer } }: IntegerMatrix): JsonObject => ({
  group_size: integer.group as number,
  bits: integer.bits,
});

/**
 * The affine format of MLX, which mlx-lm loads: `weight`, uint32, holds codes as a stream of bits along each row, `scales` and `biases` a number a group
 * each: w = scale · code + bias. The bias is −scale · zero, rounded to the type of the scales: exact for symmetric formats, else off by half a unit
 * in its last place.
 * Source: MLX, mlx.core.quantize.
 */
export const mlx: Container = {
  name: 'mlx',
  embeddings: true,
  heads: true,
  suggestion: 'int4-g64',
  metadata: { format: 'mlx' },

  problem: (format) =>
    integerProblem(format, (integer) =>
      GROUPS.includes(integer.group) ? undefined : `its groups are of ${GROUPS.join(', ')}`,
    ),

  tensors({ name, format, rows, k }: IntegerMatrix) {
    const { bits, scale } = format.integer;
    const module = moduleOf(name);
    const floats = { type: STORED_FLOATS[scale].element, shape: [rows, k / groupSize(format, k)] };
    return [
      { name: `${module}.weight`, type: 'U32', shape: [rows, packedRowBytes(bits, k) / 4] },
      { name: `${module}.scales`, ...floats },
      { name: `${module}.biases`, ...floats },
    ];
  },

  codes: packRows,

  rest({ name, format, rows, k }: IntegerMatrix, arrays) {
    const { scale } = format.integer;
    const stored = STORED_FLOATS[scale];
    const { scales, zeros } = readGroups(format, arrays, rows, k, groupSize(format, k));
    const bytes = (scales.length * stored.bits) / 8;
    const biases = new Uint8Array(bytes);
    for (const [g, step] of scales.entries()) {
      const bias = -step * zeros[g]!;
      const rounded = stored.round(bias);
      if (!(Math.abs(rounded - bias) <= Math.abs(bias) * 2 ** -8)) {
        throw new FormatError(
          `${quote(name)}: the bias ${bias} of a group is beyond what ${scale} holds. Choose a format with wider scales (${format.name.replace(/-(f16|bf16)$/, '')}-f32), or keep this tensor.`,
        );
      }
      stored.write(biases, g, rounded);
    }
    return [arrays.scales!.subarray(0, bytes), biases];
  },

  config(matrices: readonly IntegerMatrix[]) {
    const [most, ...others] = bySchemes(matrices, (matrix) => JSON.stringify(schemeOf(matrix)));
    const exceptions = others.flat().map((matrix) => [moduleOf(matrix.name), schemeOf(matrix)]);
    return { quantization: { ...schemeOf(most![0]!), mode: 'affine', ...Object.fromEntries(exceptions) } };
  },
};
