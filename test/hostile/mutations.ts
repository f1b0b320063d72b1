import fc from 'fast-check';
import type { Sample } from './samples.ts';

/** One change to the bytes of a file. */
type Mutation =
  | { readonly at: number; readonly byte: number }
  /** Eight bytes: a count, a length, an offset. */
  | { readonly at: number; readonly word: bigint | number }
  /** The next digit of text becomes another one: JSON stays valid, and sizes lie. */
  | { readonly at: number; readonly digit: number }
  | { readonly at: number; readonly insert: Uint8Array }
  /** Some bytes once more, somewhere else: keys that are there twice. */
  | { readonly at: number; readonly from: number; readonly length: number }
  | { readonly cut: number }
  /** Afterwards the length of the header is what its new size makes it, where the format says one. */
  | { readonly fit: true };

/** One to five changes to a file, four in five of them in its header. */
export function mutationsOf({ bytes, header }: Sample): fc.Arbitrary<Mutation[]> {
  const place = fc.oneof(
    { weight: 4, arbitrary: fc.nat(header - 1) },
    { weight: 1, arbitrary: fc.nat(bytes.byteLength - 1) },
  );
  const mutation: fc.Arbitrary<Mutation> = fc.oneof(
    fc.record({ at: place, byte: fc.nat(255) }),
    fc.record({
      at: place,
      word: fc.oneof(fc.nat(40), fc.constantFrom(2n ** 31n, 2n ** 32n - 1n, 2n ** 63n, 2n ** 64n - 1n)),
    }),
    fc.record({ at: place, digit: fc.nat(9) }),
    fc.record({ at: place, insert: fc.uint8Array({ maxLength: 40 }) }),
    fc.record({ at: place, from: place, length: fc.integer({ min: 1, max: 80 }) }),
    fc.record({ cut: place }),
    fc.constant({ fit: true } as const),
  );
  return fc.array(mutation, { minLength: 1, maxLength: 5 });
}

const spliced = (bytes: Uint8Array, at: number, more: Uint8Array): Uint8Array<ArrayBuffer> => {
  const out = new Uint8Array(bytes.byteLength + more.byteLength);
  out.set(bytes.subarray(0, at));
  out.set(more, at);
  out.set(bytes.subarray(at), at + more.byteLength);
  return out;
};

/** The file with these changes, one after the other. */
export function mutated(sample: Sample, mutations: readonly Mutation[]): Uint8Array<ArrayBuffer> {
  let bytes = Uint8Array.from(sample.bytes);
  for (const m of mutations) {
    if ('cut' in m) bytes = bytes.slice(0, m.cut);
    else if ('fit' in m) sample.fit?.(bytes);
    else if (m.at >= bytes.byteLength) continue;
    else if ('byte' in m) bytes[m.at] = m.byte;
    else if ('word' in m) {
      const word = new Uint8Array(8);
      new DataView(word.buffer).setBigUint64(0, BigInt(m.word), true);
      bytes.set(word.subarray(0, bytes.byteLength - m.at), m.at);
    } else if ('digit' in m) {
      const digit = bytes.findIndex((byte, i) => i >= m.at && byte >= 0x30 && byte <= 0x39);
      if (digit >= 0) bytes[digit] = 0x30 + m.digit;
    } else if ('insert' in m) bytes = spliced(bytes, m.at, m.insert);
    else bytes = spliced(bytes, m.at, bytes.slice(m.from, m.from + m.length));
  }
  return bytes;
}
