import bf16Shader from '../../shaders/formats/dense_bf16.wgsl';
import f16Shader from '../../shaders/formats/dense_f16.wgsl';
import f32Shader from '../../shaders/formats/dense_f32.wgsl';
import { ELEMENT_BYTES } from '../files/element-type.ts';
import type { ShaderSource } from '../gpu/shader-source.ts';
import { checkBytes, checkWeights } from './checks.ts';
import { bf16BitsToF32, f16BitsToF32, f32ToBf16Bits, f32ToF16Bits } from './float16.ts';
import type { Codec, Format, FormatArray } from './format.ts';
import { allocateArrays, contentBytes, readU16, takeArray, writeU16 } from './layout.ts';
import { checkOptions } from './methods.ts';

/** ggml stores dense rows as they are, so only the padding of the whole array goes. */
function plainCodec(name: string, array: FormatArray): Codec {
  return {
    bytesPerRow: (k) => k * ELEMENT_BYTES[array.type],
    encode: (arrays, rows, k) => takeArray(arrays, array, rows, k).slice(0, contentBytes(array, rows, k)),
    decode(bytes, rows, k) {
      checkBytes(bytes, contentBytes(array, rows, k), `${name}, ${rows} x ${k}`);
      const arrays = allocateArrays([array], rows, k);
      arrays[array.name]!.set(bytes);
      return arrays;
    },
  };
}

function dense(
  name: string,
  type: 'F32' | 'F16' | 'BF16',
  shader: ShaderSource,
  write: (bytes: Uint8Array, index: number, value: number) => void,
  read: (bytes: Uint8Array, index: number) => number,
): Format {
  const array: FormatArray = { name: 'data', type, elementsPerRow: (k) => k };
  return {
    name,
    kind: 'dense',
    block: 1,
    arrays: [array],
    shader,
    constants: {},
    reference: {
      quantize(weights, rows, k, options) {
        checkWeights(weights, rows, k);
        checkOptions({ name }, k, options);
        const arrays = allocateArrays([array], rows, k);
        for (const [i, w] of weights.entries()) write(arrays.data!, i, w);
        return arrays;
      },
      dequantize(arrays, rows, k) {
        const data = takeArray(arrays, array, rows, k);
        return Float32Array.from({ length: rows * k }, (_, i) => read(data, i));
      },
    },
    codecs: { ggml: plainCodec(name, array) },
  };
}

const view = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** IEEE 754 binary32, unchanged. */
export const f32 = dense(
  'f32',
  'F32',
  f32Shader,
  (bytes, i, w) => view(bytes).setFloat32(4 * i, w, true),
  (bytes, i) => view(bytes).getFloat32(4 * i, true),
);

/** Finite weights stay finite: what would round to infinity becomes the largest finite value of the same sign. */
const saturate = (bits: number, infinity: number): number => ((bits & 0x7fff) === infinity ? bits - 1 : bits);

/** IEEE 754 binary16: rounds to nearest, ties to even; saturates at 65504. */
export const f16 = dense(
  'f16',
  'F16',
  f16Shader,
  (bytes, i, w) => writeU16(bytes, i, saturate(f32ToF16Bits(w), 0x7c00)),
  (bytes, i) => f16BitsToF32(readU16(bytes, i)),
);

/** bfloat16: rounds to nearest, ties to even; saturates at its largest finite value. */
export const bf16 = dense(
  'bf16',
  'BF16',
  bf16Shader,
  (bytes, i, w) => writeU16(bytes, i, saturate(f32ToBf16Bits(w), 0x7f80)),
  (bytes, i) => bf16BitsToF32(readU16(bytes, i)),
);
