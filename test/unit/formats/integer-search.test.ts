import fc from 'fast-check';
import { expect, test } from 'vitest';
import { integerName, integerParameters } from '../../../src/formats/integer-names.ts';
import { groupOf } from '../../../src/formats/layout.ts';
import { formatByName } from '../../../src/formats/registry.ts';
import { cases, gaussian, generator } from '../../gpu/weight-cases.ts';

/** Squared error of a group in units of its largest weight, each weight's times its importance. */
function errorOf(values: Float32Array, weights: Float32Array, importance: Float32Array | undefined): number {
  const largest = weights.reduce((m, w) => Math.max(m, Math.abs(w)), 0) || 1;
  return weights.reduce((sum, w, i) => sum + (importance?.[i] ?? 1) * ((values[i]! - w) / largest) ** 2, 0);
}

test('the search of any integer groups never loses more than rounding to nearest, with an importance or without', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...integerParameters),
      fc.integer({ min: 1, max: 10000 }),
      fc.boolean(),
      (parameters, seed, weighted) => {
        const format = formatByName(integerName(parameters));
        const next = generator(seed);
        for (const { rows, k, weights } of cases(format.block, seed, false, 2)) {
          const importance = weighted
            ? Float32Array.from({ length: k }, () => Math.exp(2 * gaussian(next)))
            : undefined;
          const values = (method: 'rtn' | 'search') =>
            format.reference.dequantize(
              format.reference.quantize(weights, rows, k, {
                method,
                ...(method === 'search' && importance && { importance }),
              }),
              rows,
              k,
            );
          const [rounded, searched] = [values('rtn'), values('search')];
          const group = groupOf(format, k);
          for (let at = 0; at < weights.length; at += group) {
            const part = (array: Float32Array) => array.subarray(at, at + group);
            const gains = importance?.subarray(at % k, (at % k) + group);
            const error = (of: Float32Array) => errorOf(part(of), part(weights), gains);
            // Sums of the search round to f32, but it takes only what is better by a 2^14th.
            expect(error(searched)).toBeLessThanOrEqual(error(rounded) + 1e-9);
          }
        }
      },
    ),
    { numRuns: 60 },
  );
});

test.each([
  ['int4-g64', 0.91],
  ['int4-g64-asym', 0.93],
  ['int4-g64-fzp', 0.9],
  ['int3-g64', 0.86],
  ['int3-g64-asym', 0.84],
  ['int2-g64', 0.82],
  ['int2-g64-asym', 0.65],
  ['int2-g64-fzp', 0.56],
])('%s: of Gaussian weights the search leaves at most %f of the squared error', (name, most) => {
  const { reference } = formatByName(name);
  const next = generator(5);
  const [rows, k] = [16, 512];
  const weights = Float32Array.from({ length: rows * k }, () => gaussian(next));
  const error = (method: 'rtn' | 'search') =>
    errorOf(reference.dequantize(reference.quantize(weights, rows, k, { method }), rows, k), weights, undefined);
  expect(error('search') / error('rtn')).toBeLessThan(most);
});
