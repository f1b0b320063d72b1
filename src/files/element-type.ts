import type { ElementType } from '../formats/format.ts';

/** Bytes of one element of each type; those below a byte are packed, and a tensor of them ends at a whole byte. */
export const ELEMENT_BYTES: Readonly<Record<ElementType, number>> = {
  F64: 8,
  C64: 8,
  I64: 8,
  U64: 8,
  F32: 4,
  I32: 4,
  U32: 4,
  F16: 2,
  BF16: 2,
  I16: 2,
  U16: 2,
  F8_E4M3: 1,
  F8_E5M2: 1,
  F8_E4M3FNUZ: 1,
  F8_E5M2FNUZ: 1,
  F8_E8M0: 1,
  I8: 1,
  U8: 1,
  BOOL: 1,
  F6_E2M3: 0.75,
  F6_E3M2: 0.75,
  F4: 0.5,
};

/** Whether `text` names an element type that Compressa reads. */
export const isElementType = (text: string): text is ElementType => Object.hasOwn(ELEMENT_BYTES, text);

/** Product of `shape`, or undefined where it is no safe integer. The order of the dimensions does not matter. */
export function elementCount(shape: readonly number[]): number | undefined {
  // A zero first: 0 times absurd dimensions is 0, whatever their order.
  if (shape.includes(0)) return 0;
  let product = 1;
  for (const size of shape) {
    product *= size;
    if (!Number.isSafeInteger(product)) return undefined;
  }
  return product;
}
