import { f16BitsToF32, f32ToF16Bits } from '../../formats/float16.ts';
import { clamp, roundHalfEven } from '../../formats/rounding.ts';
import { type CacheType, cacheHeadWords } from '../cache.ts';

const GROUP = 32;
const { fround } = Math;
/** Groups below it are zero in int8. */
const SMALLEST = 2 ** -100;
/** The largest magnitude of f16. */
const MOST = 65504;

const saturated = (x: number): number => {
  const bits = f32ToF16Bits(x);
  return (bits & 0x7fff) === 0x7c00 ? bits - 1 : bits;
};

/**
 * The words that a cache has for a head (`cacheHeadWords`); f32 numbers, finite. int8: scale = max|x| / 127, code = x / scale to nearest. int4: minimum
 * and scale = (max − min) / 15 in f16, code = (x − minimum) / scale to nearest. Every step is rounded to f32, ties to even.
 */
export function encodeHead(type: CacheType, values: Float32Array): Uint32Array {
  const words = new Uint32Array(cacheHeadWords(type, values.length));
  const bytes = new Uint8Array(words.buffer);
  const eights = Math.ceil(values.length / 8);
  if (type === 'f32') new Float32Array(words.buffer).set(values);
  if (type === 'f16') new Uint16Array(words.buffer).set(Array.from(values, saturated));
  for (let start = 0; start < values.length; start += GROUP) {
    const group = values.subarray(start, start + GROUP);
    if (type === 'int8') {
      const largest = group.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
      const scale = largest < SMALLEST ? 0 : fround(largest / 127);
      for (const [i, x] of group.entries()) {
        if (scale > 0) bytes[start + i] = clamp(roundHalfEven(fround(x / scale)), -127, 127);
      }
      new Float32Array(words.buffer)[2 * eights + start / GROUP] = scale;
    } else if (type === 'int4') {
      const inRange = group.map((x) => clamp(x, -MOST, MOST));
      const signedLow = saturated(Math.min(...inRange));
      // Zeros of either sign are one.
      const lowBits = (signedLow & 0x7fff) === 0 ? 0 : signedLow;
      const scaleBits = saturated(fround(fround(Math.max(...inRange) - Math.min(...inRange)) / 15));
      const [low, scale] = [f16BitsToF32(lowBits), f16BitsToF32(scaleBits)];
      // What is behind the head has codes too, those of 0.
      const padded = Float32Array.from({ length: Math.ceil(group.length / 8) * 8 }, (_, i) => inRange[i] ?? 0);
      for (const [i, x] of padded.entries()) {
        const code = scale > 0 ? clamp(roundHalfEven(fround(fround(x - low) / scale)), 0, 15) : 0;
        words[(start + i) >> 3]! |= code << (4 * (i % 8));
      }
      words[eights + start / GROUP] = scaleBits | (lowBits << 16);
    }
  }
  return words;
}

/** The numbers that such words stand for. */
export function decodeHead(type: CacheType, words: Uint32Array, headDim: number): Float32Array {
  const bytes = new Int8Array(words.buffer, words.byteOffset, words.byteLength);
  const halves = new Uint16Array(words.buffer, words.byteOffset, words.length * 2);
  const floats = new Float32Array(words.buffer, words.byteOffset, words.length);
  const eights = Math.ceil(headDim / 8);
  return Float32Array.from({ length: headDim }, (_, i) => {
    const group = Math.floor(i / GROUP);
    switch (type) {
      case 'f32':
        return floats[i]!;
      case 'f16':
        return f16BitsToF32(halves[i]!);
      case 'int8':
        return floats[2 * eights + group]! * bytes[i]!;
      case 'int4': {
        const pair = words[eights + group]!;
        const code = (words[i >> 3]! >>> (4 * (i % 8))) & 15;
        return f16BitsToF32(pair & 0xffff) * code + f16BitsToF32(pair >>> 16);
      }
    }
  });
}
