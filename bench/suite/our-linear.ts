import { isSparse } from '../../src/formats/format.ts';
import { codeBytes } from '../../src/formats/w8a8.ts';
import type { Gpu } from '../../src/gpu/gpu.ts';
import type { BufferView, Step } from '../../src/gpu/kernel.ts';
import type { Scratch } from '../../src/gpu/scratch.ts';
import type { VariantChoice } from '../../src/graph/variant-choice.ts';
import { blockIntegerLinearSteps, quantizeBlocksStep } from '../../src/kernels/block-integer-linear.ts';
import {
  integerLinearSteps,
  multipliesPacked,
  quantizeActivationsStep,
  usualIntegerVariant,
} from '../../src/kernels/integer-linear.ts';
import { linearSteps } from '../../src/kernels/linear.ts';
import { usualHalfVariant, usualVariant } from '../../src/kernels/linear-variants.ts';
import { packedProducts } from '../../src/kernels/packed-products.ts';
import type { Weight } from '../../src/kernels/weight.ts';
import type { Rounding } from './linear-forms.ts';

/** Inputs that share a scale where they are rounded to int8. */
export const INPUT_BLOCK = 32;

/** What a product with the weight takes besides its own buffers. */
export interface Product {
  readonly x: BufferView;
  readonly y: BufferView;
  readonly batch: number;
  /** Undefined: as decoders do. */
  readonly rounding?: Rounding | undefined;
}

/**
 * The steps of a product as a decoder takes them on this device; `room` is for what a product needs besides, and `tuner`, which has to be prepared,
 * chooses among variants. The products of sparse weights have to be loaded (`loadPackedProducts`).
 */
export function ourLinear(
  gpu: Gpu,
  room: Scratch,
  { x, y, batch, rounding }: Product,
  tuner?: VariantChoice,
): (weight: Weight) => Step[] {
  const { software } = gpu.description;
  const integers = new Map<number, { codes: BufferView; scales: BufferView }>();
  return (weight) => {
    const { rows, k, format } = weight;
    const shape = { rows, k, tokens: batch };
    if (rounding === 'f16 sums') {
      return linearSteps({ x, weight, y, tokens: batch, variant: usualHalfVariant(gpu) });
    }
    if (rounding === 'int8 inputs') {
      const to = integers.get(k) ?? {
        codes: room.room(batch * k, 'codes'),
        scales: room.room(4 * batch * (k / INPUT_BLOCK), 'scales'),
      };
      integers.set(k, to);
      return [
        quantizeBlocksStep({ x, to, tokens: batch, k }),
        ...blockIntegerLinearSteps({ x: to, weight, y, tokens: batch }),
      ];
    }
    const tuned = tuner?.linear({ kind: 'linear', format, ...shape });
    if (isSparse(format)) {
      const { productSteps, usualVariantOf } = packedProducts();
      return productSteps({ x, weight, y, tokens: batch, variant: tuned ?? usualVariantOf(gpu, shape, format) });
    }
    if (!format.activations) {
      return linearSteps({ x, weight, y, tokens: batch, variant: tuned ?? usualVariant(gpu, shape, format) });
    }
    const to = integers.get(k) ?? {
      codes: room.room(batch * codeBytes(k), 'codes'),
      scales: room.room(4 * batch, 'scales'),
    };
    integers.set(k, to);
    return [
      quantizeActivationsStep({ x, to, tokens: batch, k, threads: software ? 8 : 64 }),
      ...integerLinearSteps({
        ...{ x: to, weight, y, tokens: batch },
        packed: multipliesPacked(gpu),
        variant: tuned ?? usualIntegerVariant(gpu, shape),
      }),
    ];
  };
}
