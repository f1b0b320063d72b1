import { FormatError, NonFiniteError } from '../errors.ts';
import { f16BitsToF32, f32ToBf16Bits, f32ToF16Bits } from '../formats/float16.ts';
import type { ElementType } from '../formats/format.ts';
import { ELEMENT_BYTES } from './element-type.ts';
import { type Float8, float8Values, isFloat8 } from './float8.ts';

/**
 * The values of little-endian elements as f32: exact for F32, F16 and BF16, rounded to nearest for F64.
 * @throws FormatError for types that hold no real numbers, or none without scales that lie elsewhere, or bytes that are no whole number of elements.
 */
export function decodeToF32(bytes: Uint8Array, type: ElementType): Float32Array<ArrayBuffer> {
  if (bytes.byteLength % ELEMENT_BYTES[type] !== 0) {
    throw new FormatError(`${bytes.byteLength} bytes are no whole number of ${type} elements.`);
  }
  if (isFloat8(type)) {
    // By themselves they would be numbers, but wrong ones, without a word: such checkpoints have `weight_scale_inv` and the like.
    throw new FormatError(
      `Elements of type ${type} are not weights by themselves: checkpoints scale them by tensors of their own, which this version ` +
        'does not apply. Take the model in BF16 or F16.',
    );
  }
  // A copy: a view's offset need not be a multiple of the element size. Every host of WebGPU is little-endian.
  const buffer = bytes.slice().buffer;
  switch (type) {
    case 'F32':
      return new Float32Array(buffer);
    case 'F64':
      return Float32Array.from(new Float64Array(buffer));
    case 'F16': {
      const bits = new Uint16Array(buffer);
      const out = new Float32Array(bits.length);
      for (let i = 0; i < bits.length; i++) out[i] = f16BitsToF32(bits[i]!);
      return out;
    }
    case 'BF16': {
      const bits = new Uint16Array(buffer);
      const out = new Uint32Array(bits.length);
      for (let i = 0; i < bits.length; i++) out[i] = bits[i]! << 16;
      return new Float32Array(out.buffer);
    }
    default:
      throw new FormatError(
        `Elements of type ${type} can't be read as numbers; only F64, F32, F16 and BF16 tensors are weights.`,
      );
  }
}

/** The values of floats of eight bits as f32, exact. Where they are weights of a model, its scales are still to be applied. */
export function decodeFloat8(bytes: Uint8Array, type: Float8): Float32Array<ArrayBuffer> {
  const values = float8Values(type);
  return Float32Array.from(bytes, (code) => values[code]!);
}

/**
 * F16 bytes of `values`, rounded to nearest, ties to even; NaN and infinities stay what they are.
 * @param name of the tensor, for messages
 * @throws NonFiniteError where a finite value would become infinite (65520 and above).
 */
export function encodeF16(values: Float32Array, name = 'The tensor'): Uint8Array<ArrayBuffer> {
  const bits = new Uint16Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const x = values[i]!;
    const code = f32ToF16Bits(x);
    if ((code & 0x7fff) === 0x7c00 && Number.isFinite(x)) {
      throw new NonFiniteError(
        `${name}: ${x} at index ${i} is too large for F16 (at most 65504). Keep this tensor in F32 or BF16.`,
      );
    }
    bits[i] = code;
  }
  return new Uint8Array(bits.buffer);
}

/**
 * BF16 bytes of `values`, rounded to nearest, ties to even; NaN and infinities stay what they are.
 * @param name of the tensor, for messages
 * @throws NonFiniteError where a finite value would become infinite.
 */
export function encodeBf16(values: Float32Array, name = 'The tensor'): Uint8Array<ArrayBuffer> {
  const bits = new Uint16Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const x = values[i]!;
    const code = f32ToBf16Bits(x);
    if ((code & 0x7fff) === 0x7f80 && Number.isFinite(x)) {
      throw new NonFiniteError(`${name}: ${x} at index ${i} is too large for BF16. Keep this tensor in F32.`);
    }
    bits[i] = code;
  }
  return new Uint8Array(bits.buffer);
}
