import type { Numbers } from './array.ts';

/** a + b element by element. */
export function add(a: Numbers, b: Numbers): Float64Array {
  return Float64Array.from(a, (value, i) => value + b[i]!);
}
