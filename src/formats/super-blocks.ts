import { ELEMENT_BYTES } from '../files/element-type.ts';
import { blockCodec } from './block-codec.ts';
import { checkWeights } from './checks.ts';
import type { ElementType, Format, FormatArray } from './format.ts';
import { allocateArrays, takeArray } from './layout.ts';
import { checkOptions } from './methods.ts';

/** Weights of a super-block. */
export const SUPER_BLOCK = 256;

/** What one super-block has in each array, by name. */
export type SuperBlock = Readonly<Record<string, Uint8Array>>;

/** An array with `count` elements for each super-block. */
export const inBlock = (name: string, type: ElementType, count: number): FormatArray => ({
  name,
  type,
  elementsPerRow: (k) => (k / SUPER_BLOCK) * count,
});

interface SuperBlockType {
  readonly name: string;
  readonly shader: Format['shader'];
  readonly arrays: readonly FormatArray[];
  /** Names of the arrays in the order in which ggml's blocks have them. */
  readonly order: readonly string[];
  /** Fills a zeroed super-block. */
  quantize(weights: Float32Array, block: SuperBlock): void;
  value(block: SuperBlock, i: number): number;
}

/** A format of ggml's super-blocks, whose fields are arrays of their own on the device. */
export function superBlockFormat({ name, shader, arrays, order, quantize, value }: SuperBlockType): Format {
  const sizes = arrays.map(
    (array) => [array.name, array.elementsPerRow(SUPER_BLOCK) * ELEMENT_BYTES[array.type]] as const,
  );
  const blockOf = (host: Record<string, Uint8Array>, index: number): SuperBlock =>
    Object.fromEntries(sizes.map(([field, size]) => [field, host[field]!.subarray(index * size, (index + 1) * size)]));
  return {
    name,
    kind: 'block',
    block: SUPER_BLOCK,
    arrays,
    shader,
    constants: {},
    searched: true,
    reference: {
      quantize(weights, rows, k, options) {
        checkWeights(weights, rows, k);
        checkOptions({ name, searched: true }, k, options);
        const host = allocateArrays(arrays, rows, k);
        for (let i = 0; i < weights.length / SUPER_BLOCK; i++) {
          quantize(weights.subarray(i * SUPER_BLOCK, (i + 1) * SUPER_BLOCK), blockOf(host, i));
        }
        return host;
      },
      dequantize(host, rows, k) {
        for (const array of arrays) takeArray(host, array, rows, k);
        const weights = new Float32Array(rows * k);
        for (let i = 0; i < weights.length / SUPER_BLOCK; i++) {
          const block = blockOf(host, i);
          for (let j = 0; j < SUPER_BLOCK; j++) weights[i * SUPER_BLOCK + j] = value(block, j);
        }
        return weights;
      },
    },
    codecs: {
      ggml: blockCodec(
        name,
        SUPER_BLOCK,
        arrays,
        order.map((field) => ({ array: arrays.find((array) => array.name === field)! })),
      ),
    },
  };
}
