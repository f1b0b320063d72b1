import { expect, test } from 'vitest';
import { layerShares } from '../../../src/passes/pruning/outlier-ratios.ts';

test('layers with more outliers lose less, all together what was asked for', () => {
  const shares = layerShares(0.6, [0.01, 0.03, 0.02], [100, 100, 200]);
  expect(shares[0]! * 100 + shares[1]! * 100 + shares[2]! * 200).toBeCloseTo(0.6 * 400, 10);
  expect(shares[0]).toBeCloseTo(0.68, 10);
  expect(shares[1]).toBeCloseTo(0.52, 10);
  expect(shares[2]).toBeCloseTo(0.6, 10);
});

test('where layers are alike, all lose the same, and none loses all or nothing', () => {
  expect(layerShares(0.5, [0.02, 0.02], [10, 30])).toEqual([0.5, 0.5]);
  for (const fraction of [0.01, 0.99]) {
    for (const share of layerShares(fraction, [0, 0, 0, 1], [1, 1, 1, 1])) {
      expect(share).toBeGreaterThan(0);
      expect(share).toBeLessThan(1);
    }
  }
});
