import { expect, test } from 'vitest';
import { cheapestCounts, cheapestShares, sharesAround } from '../../../src/passes/spread-over-layers.ts';
import { randomSource } from '../../gpu/random.ts';

test('costs are measured to both sides of a share, and something of every layer stays', () => {
  for (const fraction of [0.01, 0.3, 0.5, 0.9, 0.999]) {
    const shares = sharesAround(fraction);
    expect(shares).toHaveLength(5);
    expect(shares[2]).toBeCloseTo(fraction, 12);
    expect(shares[0]).toBeGreaterThan(0);
    expect(shares[4]).toBeLessThan(1);
    expect(shares).toEqual(shares.toSorted((a, b) => a - b));
  }
});

const totalOf = (
  shares: readonly number[],
  layers: readonly { size: number; costs: readonly number[] }[],
  at: readonly number[],
) =>
  layers.reduce((sum, { costs }, layer) => {
    const i = Math.max(
      0,
      shares.findLastIndex((share, j) => share <= at[layer]! && j < shares.length - 1),
    );
    const part = (at[layer]! - shares[i]!) / (shares[i + 1]! - shares[i]!);
    return sum + costs[i]! + part * (costs[i + 1]! - costs[i]!);
  }, 0);

test('no other way to lose as much costs less', () => {
  const random = randomSource(5);
  const shares = sharesAround(0.5);
  for (let problem = 0; problem < 50; problem++) {
    const layers = Array.from({ length: 2 + Math.floor(5 * random()) }, () => {
      // Ascending and convex, as what is worth least goes first.
      let [cost, slope] = [random(), random()];
      const costs = shares.map(() => {
        cost += slope;
        slope += random();
        return cost;
      });
      return { size: 1 + Math.floor(100 * random()), costs };
    });
    const all = layers.reduce((sum, { size }) => sum + size, 0);
    const found = cheapestShares(0.5, shares, layers);
    const gone = (at: readonly number[]) => layers.reduce((sum, { size }, i) => sum + size * at[i]!, 0) / all;
    expect(gone(found)).toBeCloseTo(0.5, 10);
    const best = totalOf(shares, layers, found);
    for (let other = 0; other < 200; other++) {
      // Moves weights from one layer to another.
      const [a, b] = [0, 1].map(() => Math.floor(layers.length * random())) as [number, number];
      const at = [...found];
      const amount = 0.02 * random();
      at[a]! += amount / layers[a]!.size;
      at[b]! -= amount / layers[b]!.size;
      if (at.some((share) => share < shares[0]! || share > shares[4]!)) continue;
      expect(totalOf(shares, layers, at)).toBeGreaterThanOrEqual(best - 1e-9);
    }
  }
});

test('a step that pays only with the next one is taken with it', () => {
  const shares = [0.3, 0.4, 0.5, 0.6, 0.7];
  const layers = [
    { size: 1, costs: [0, 5, 5, 5, 5] },
    { size: 1, costs: [0, 2, 4, 6, 8] },
  ];
  const found = cheapestShares(0.5, shares, layers);
  for (const [i, share] of [0.7, 0.3].entries()) expect(found[i]).toBeCloseTo(share, 12);
});

test('counts are whole, add up exactly, and no other way to lose as many costs less', () => {
  const random = randomSource(6);
  for (let problem = 0; problem < 100; problem++) {
    const step = [1, 3, 32][problem % 3]!;
    const layers = Array.from({ length: 2 + Math.floor(3 * random()) }, () => {
      let [count, cost] = [step * Math.floor(3 * random()), random()];
      const points = Array.from({ length: 1 + Math.floor(4 * random()) }, () => {
        count += step * (1 + Math.floor(3 * random()));
        cost += random();
        return { count, cost };
      });
      return { counts: points.map((one) => one.count), costs: points.map((one) => one.cost) };
    });
    const sumOf = (numbers: readonly number[]) => numbers.reduce((sum, one) => sum + one, 0);
    const [least, most] = [0, -1].map((at) => sumOf(layers.map(({ counts }) => counts.at(at)!))) as [number, number];
    const total = least + step * Math.floor(((most - least) / step) * random());
    const found = cheapestCounts(total, layers);
    expect(sumOf(found)).toBe(total);
    expect(cheapestCounts(total, layers)).toEqual(found);
    for (const [i, { counts }] of layers.entries()) {
      expect((found[i]! - counts[0]!) % step).toBe(0);
      expect(found[i]).toBeGreaterThanOrEqual(counts[0]!);
      expect(found[i]).toBeLessThanOrEqual(counts.at(-1)!);
    }
    // Costs on the lower hulls of all layers, by trying every line between two points.
    const hullCost = ({ counts, costs }: (typeof layers)[number], at: number): number => {
      let lowest = Number.POSITIVE_INFINITY;
      for (const [i, x] of counts.entries()) {
        if (x === at) lowest = Math.min(lowest, costs[i]!);
        for (const [j, y] of counts.entries()) {
          if (x < at && at < y) lowest = Math.min(lowest, costs[i]! + ((at - x) / (y - x)) * (costs[j]! - costs[i]!));
        }
      }
      return lowest;
    };
    const costOf = (at: readonly number[]) => sumOf(layers.map((layer, i) => hullCost(layer, at[i]!)));
    const best = costOf(found);
    for (const [i] of layers.entries()) {
      for (const [j] of layers.entries()) {
        const at = [...found];
        at[i]! += step;
        at[j]! -= step;
        if (i === j || at.some((count, l) => count < layers[l]!.counts[0]! || count > layers[l]!.counts.at(-1)!))
          continue;
        expect(costOf(at)).toBeGreaterThanOrEqual(best - 1e-9);
      }
    }
  }
});
