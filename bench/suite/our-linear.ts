import { codeBytes } from '../../src/formats/w8a8.ts';
import type { Gpu } from '../../src/gpu/gpu.ts';
import type { BufferView, Step } from '../../src/gpu/kernel.ts';
import type { VariantChoice } from '../../src/graph/variant-choice.ts';
import { integerLinearSteps, quantizeActivationsStep, usualIntegerVariant } from '../../src/kernels/integer-linear.ts';
import { linearSteps } from '../../src/kernels/linear.ts';
import { usualVariant } from '../../src/kernels/linear-variants.ts';
import type { Weight } from '../../src/kernels/weight.ts';
import type { Buffers } from './buffers.ts';

/** What a product with the weight takes besides its own buffers. */
export interface Product {
  readonly x: BufferView;
  readonly y: BufferView;
  readonly batch: number;
}

/**
 * The steps of a product as a decoder takes them on this device; `room` is for what a product needs besides, and `tuner`, which has to be prepared,
 * chooses among variants.
 */
export function ourLinear(
  gpu: Gpu,
  room: Buffers,
  { x, y, batch }: Product,
  tuner?: VariantChoice,
): (weight: Weight) => Step[] {
  const { software } = gpu.description;
  const integers = new Map<number, { codes: BufferView; scales: BufferView }>();
  return (weight) => {
    const { rows, k, format } = weight;
    const shape = { rows, k, tokens: batch };
    const tuned = tuner?.linear({ kind: 'linear', format, ...shape });
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
        packed: !software && gpu.selfTest?.multipliesPacked === true,
        variant: tuned ?? usualIntegerVariant(gpu, shape),
      }),
    ];
  };
}
