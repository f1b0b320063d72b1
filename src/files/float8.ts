import type { ElementType } from '../formats/format.ts';

/** How the eight bits of a type are read: a sign, `exponent` bits and the rest mantissa. */
interface Layout {
  readonly exponent: number;
  readonly bias: number;
  /** Codes with an exponent of all ones: as IEEE 754 has them, one NaN for each sign at the very end, or plain numbers. */
  readonly top: 'ieee' | 'nan' | 'numbers';
}

/**
 * E4M3 and E5M2: Micikevicius et al., "FP8 Formats for Deep Learning" (arXiv 2209.05433), table 1. FNUZ: Noune et al.,
 * "8-bit Numerical Formats for Deep Neural Networks" (arXiv 2206.02915): finite, no negative zero, whose code is the NaN.
 */
const LAYOUTS = {
  F8_E4M3: { exponent: 4, bias: 7, top: 'nan' },
  F8_E5M2: { exponent: 5, bias: 15, top: 'ieee' },
  F8_E4M3FNUZ: { exponent: 4, bias: 8, top: 'numbers' },
  F8_E5M2FNUZ: { exponent: 5, bias: 16, top: 'numbers' },
} as const satisfies Partial<Record<ElementType, Layout>>;

/** Types of eight bits that hold real numbers. */
export type Float8 = keyof typeof LAYOUTS;

export const isFloat8 = (type: ElementType): type is Float8 => Object.hasOwn(LAYOUTS, type);

function decode(code: number, { exponent, bias, top }: Layout): number {
  const mantissa = 7 - exponent;
  const low = code & 0x7f;
  const [e, m] = [low >> mantissa, low & ((1 << mantissa) - 1)];
  const sign = code & 0x80 ? -1 : 1;
  if (top === 'numbers' && code === 0x80) return Number.NaN;
  if (top === 'nan' && low === 0x7f) return Number.NaN;
  if (top === 'ieee' && e === (1 << exponent) - 1) return m === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (e === 0 ? m * 2 ** (1 - bias - mantissa) : (2 ** mantissa + m) * 2 ** (e - bias - mantissa));
}

const tables = new Map<Float8, Float32Array>();

/** The value of each of the 256 codes, all exact in f32. */
export function float8Values(type: Float8): Float32Array {
  let table = tables.get(type);
  if (!table) {
    table = Float32Array.from({ length: 256 }, (_, code) => decode(code, LAYOUTS[type]));
    tables.set(type, table);
  }
  return table;
}
