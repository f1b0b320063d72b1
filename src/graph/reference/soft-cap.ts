import type { Numbers } from './array.ts';

/** cap · tanh(x / cap): nearly x where that is small, never beyond ±cap. Source: Gemma Team, "Gemma 2", 2024. */
export function softCap(x: Numbers, cap: number): Float64Array {
  return Float64Array.from(x, (value) => cap * Math.tanh(value / cap));
}
