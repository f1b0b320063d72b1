import type { Numbers } from './array.ts';

const maximum = (x: Numbers): number => {
  let max = Number.NEGATIVE_INFINITY;
  for (const value of x) if (value > max || Number.isNaN(value)) max = value;
  return max;
};

/** exp(x) / Σ exp(x) over the whole array, shifted by the maximum so that nothing overflows. */
export function softmax(x: Numbers): Float64Array {
  const max = maximum(x);
  const out = Float64Array.from(x, (value) => Math.exp(value - max));
  let sum = 0;
  for (const value of out) sum += value;
  return out.map((value) => value / sum);
}

/** x − log Σ exp(x) over the whole array: the natural logarithm of `softmax`, also where that underflows. */
export function logSoftmax(x: Numbers): Float64Array {
  const max = maximum(x);
  let sum = 0;
  for (const value of x) sum += Math.exp(value - max);
  const log = max + Math.log(sum);
  return Float64Array.from(x, (value) => value - log);
}
