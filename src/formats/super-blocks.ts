import { ELEMENT_BYTES } from '../files/element-type.ts';
import { type BlockField, blockCodec } from './block-codec.ts';
import { checkWeights } from './checks.ts';
import type { ElementType, Format, FormatArray, Grid } from './format.ts';
import { allocateArrays, takeArray } from './layout.ts';
import { checkOptions } from './methods.ts';

/** Weights of a super-block. */
export const SUPER_BLOCK = 256;

/** What one block has in each array, by name. */
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
  /** Weights of a block. Default: those of a super-block. */
  readonly block?: number;
  readonly arrays: readonly FormatArray[];
  /** Names of the arrays in the order in which ggml's blocks have them. */
  readonly order: readonly string[];
  /** Of those that have their bits in another order there. */
  readonly reorders?: Readonly<Record<string, BlockField['order']>>;
  readonly grid: Grid;
  /** Fills a zeroed block. */
  quantize(weights: Float32Array, block: SuperBlock, importance?: Float32Array): void;
  value(block: SuperBlock, i: number): number;
}

/** A format of ggml's super-blocks, or of smaller ones, whose fields are arrays of their own on the device. */
export function superBlockFormat({
  name,
  shader,
  arrays,
  order,
  grid,
  quantize,
  value,
  ...type
}: SuperBlockType): Format {
  const { block: size = SUPER_BLOCK, reorders = {} } = type;
  const sizes = arrays.map((array) => [array.name, array.elementsPerRow(size) * ELEMENT_BYTES[array.type]] as const);
  const blockOf = (host: Record<string, Uint8Array>, index: number): SuperBlock =>
    Object.fromEntries(
      sizes.map(([field, bytes]) => [field, host[field]!.subarray(index * bytes, (index + 1) * bytes)]),
    );
  return {
    name,
    kind: 'block',
    block: size,
    arrays,
    shader,
    constants: {},
    searched: true,
    weighs: true,
    grid,
    reference: {
      quantize(weights, rows, k, options) {
        checkWeights(weights, rows, k);
        const { importance } = checkOptions({ name, searched: true, weighs: true }, k, options);
        const host = allocateArrays(arrays, rows, k);
        for (let i = 0; i < weights.length / size; i++) {
          const column = (i * size) % k;
          quantize(
            weights.subarray(i * size, (i + 1) * size),
            blockOf(host, i),
            importance?.subarray(column, column + size),
          );
        }
        return host;
      },
      dequantize(host, rows, k) {
        for (const array of arrays) takeArray(host, array, rows, k);
        const weights = new Float32Array(rows * k);
        for (let i = 0; i < weights.length / size; i++) {
          const block = blockOf(host, i);
          for (let j = 0; j < size; j++) weights[i * size + j] = value(block, j);
        }
        return weights;
      },
    },
    codecs: {
      ggml: blockCodec(
        name,
        size,
        arrays,
        order.map((field) => ({ array: arrays.find((array) => array.name === field)!, order: reorders[field] })),
      ),
    },
  };
}
