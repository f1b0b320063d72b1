import type { Format, HostArrays } from '../../src/formats/format.ts';
import { arrayBytes } from '../../src/formats/layout.ts';

/**
 * A weight in a format, from random numbers: quantized where that is quick, else random bits under steps of an ordinary size, since the
 * reference of formats that are searched takes microseconds a weight.
 */
export function randomStored(format: Format, rows: number, k: number, next: () => number): HostArrays {
  if (!format.searched) {
    const gaussian = () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
    return format.reference.quantize(Float32Array.from({ length: rows * k }, gaussian), rows, k);
  }
  return Object.fromEntries(
    format.arrays.map((array) => [
      array.name,
      Uint8Array.from({ length: arrayBytes(array, rows, k) }, (_, i) => {
        const byte = Math.floor(next() * 256);
        // The high byte of an f16: either sign, an exponent of −5.
        return array.type === 'F16' && i % 2 === 1 ? (byte & 0x83) | 0x28 : byte;
      }),
    ]),
  );
}
