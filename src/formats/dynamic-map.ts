/**
 * The signed dynamic data type of 8 bits, which quantizes scales once more: an exponent of variable length and what bits are left as a fraction.
 * Source: Dettmers, "8-Bit Approximations for Parallelism in Deep Learning", 2015; the numbers are those of bitsandbytes' `create_dynamic_map`.
 */

const f = Math.fround;

/** Codes are sorted by their values: this one is 0, those below are negative. */
export const ZERO = 127;

/** From 0.1 to 1 in equal steps; each number is rounded once, the lower half counted from below, the upper half from above. */
function boundaries(steps: number): number[] {
  const step = f(f(1 - f(0.1)) / steps);
  const middle = Math.floor((steps + 1) / 2);
  return Array.from({ length: steps + 1 }, (_, i) => (i < middle ? f(f(0.1) + step * i) : f(1 - step * (steps - i))));
}

/** The middles between 2^e + 1 boundaries, for each e below 7 times a power of ten. */
const POSITIVE = Array.from({ length: 7 }, (_, e) => {
  const bounds = boundaries(2 ** e);
  return bounds.slice(1).map((bound, i) => f(f(10 ** (e - 6)) * f(f(bounds[i]! + bound) / 2)));
}).flat();

/** What each code stands for, ascending, −0.993 … 1. */
export const DYNAMIC_MAP: readonly number[] = [...POSITIVE.map((x) => -x).reverse(), 0, ...POSITIVE, 1];

const MIDDLES = DYNAMIC_MAP.slice(1).map((value, code) => f(f(DYNAMIC_MAP[code]! + value) * 0.5));

/** The code nearest to x; from the middle between two it is the even one, as bitsandbytes' search has it. */
export function dynamicCode(x: number): number {
  let [code, above] = [0, MIDDLES.length];
  while (code < above) {
    const middle = (code + above) >> 1;
    const higher = middle % 2 === 0 ? x > MIDDLES[middle]! : x >= MIDDLES[middle]!;
    if (higher) code = middle + 1;
    else above = middle;
  }
  return code;
}
