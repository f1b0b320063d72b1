import { ELEMENT_BYTES } from '../files/element-type.ts';
import { checkBytes } from './checks.ts';
import { readNibble, writeNibble } from './codes.ts';
import type { Codec, FormatArray } from './format.ts';
import { allocateArrays, takeArray } from './layout.ts';

/** Copies `from`, what one block has in an array of one container, to `to`, what it has in the other; both of the same size. */
export type Reorder = (from: Uint8Array, to: Uint8Array) => void;

/** A field of a container's block, which is an array of its own on the device. */
export interface BlockField {
  readonly array: FormatArray;
  /** Where the two have the bits of a block in different orders; default: the same bytes. */
  readonly order?: { readonly toDevice: Reorder; readonly fromDevice: Reorder } | undefined;
}

const copy: Reorder = (from, to) => to.set(from);

/** Blocks of `block` weights whose fields follow each other, as ggml's structures have them. */
export function blockCodec(
  name: string,
  block: number,
  arrays: readonly FormatArray[],
  fields: readonly BlockField[],
): Codec {
  const parts = fields.map(({ array, order }) => ({
    array,
    size: array.elementsPerRow(block) * ELEMENT_BYTES[array.type],
    toDevice: order?.toDevice ?? copy,
    fromDevice: order?.fromDevice ?? copy,
  }));
  const blockBytes = parts.reduce((sum, { size }) => sum + size, 0);
  const bytesPerRow = (k: number): number => (k / block) * blockBytes;
  return {
    bytesPerRow,
    encode(host, rows, k) {
      const out = new Uint8Array(rows * bytesPerRow(k));
      let offset = 0;
      for (const { array, size, fromDevice } of parts) {
        const from = takeArray(host, array, rows, k);
        for (let i = 0; i < (rows * k) / block; i++) {
          const at = i * blockBytes + offset;
          fromDevice(from.subarray(i * size, (i + 1) * size), out.subarray(at, at + size));
        }
        offset += size;
      }
      return out;
    },
    decode(bytes, rows, k) {
      checkBytes(bytes, rows * bytesPerRow(k), `${name}, ${rows} x ${k}`);
      const host = allocateArrays(arrays, rows, k);
      let offset = 0;
      for (const { array, size, toDevice } of parts) {
        const to = host[array.name]!;
        for (let i = 0; i < (rows * k) / block; i++) {
          const at = i * blockBytes + offset;
          toDevice(bytes.subarray(at, at + size), to.subarray(i * size, (i + 1) * size));
        }
        offset += size;
      }
      return host;
    },
  };
}

/** Nibbles of `group` weights: ggml's byte j of a group holds weight j (low) and weight j + group / 2 (high). */
export function ggmlNibbles(group: number): NonNullable<BlockField['order']> {
  const half = group / 2;
  return {
    fromDevice(codes, out) {
      out.fill(0);
      for (let i = 0; i < codes.length * 2; i++) {
        const inGroup = i % group;
        const byte = Math.floor(i / group) * half + (inGroup % half);
        out[byte]! |= readNibble(codes, i) << (inGroup < half ? 0 : 4);
      }
    },
    toDevice(bytes, codes) {
      codes.fill(0);
      for (let i = 0; i < bytes.length * 2; i++) {
        const inGroup = i % group;
        const byte = bytes[Math.floor(i / group) * half + (inGroup % half)]!;
        writeNibble(codes, i, inGroup < half ? byte & 15 : byte >>> 4);
      }
    },
  };
}
