import { expect, test } from 'vitest';
import { allocateRanks, type RankCosts, type Spectra } from '../../../src/passes/factorize/rank-budget.ts';
import { rankCosts } from '../../../src/passes/factorize/rank-times.ts';

const matrix = (name: string, rows: number, columns: number, value: (i: number) => number, known?: number): Spectra => {
  const side = Math.min(rows, columns);
  const all = Array.from({ length: side }, (_, i) => value(i));
  return { name, rows, columns, values: all.slice(0, known), total: all.reduce((sum, one) => sum + one * one, 0) };
};

const parameters = (matrices: readonly Spectra[], ranks: ReadonlyMap<string, number>) =>
  matrices.reduce(
    (sum, { name, rows, columns }) => sum + Math.min(rows * columns, ranks.get(name)! * (rows + columns)),
    0,
  );

const loss = (matrices: readonly Spectra[], ranks: ReadonlyMap<string, number>) =>
  matrices.reduce((sum, { name, values, total, rows, columns }) => {
    const rank = ranks.get(name)!;
    const whole = rank * (rows + columns) >= rows * columns;
    return (
      sum +
      (whole
        ? 0
        : Array.from(values)
            .slice(rank)
            .reduce((lost, one) => lost + one * one, 0) / total)
    );
  }, 0);

test('ranks go where they lose least, within the budget', () => {
  const matrices = [
    matrix('steep', 40, 40, (i) => 0.5 ** i),
    matrix('flat', 40, 40, () => 1),
    matrix('slow', 30, 60, (i) => 1 / (1 + i)),
  ];
  const all = 40 * 40 * 2 + 30 * 60;
  for (const keep of [0.1, 0.3, 0.5, 0.7, 0.9]) {
    const ranks = allocateRanks(matrices, keep);
    const taken = parameters(matrices, ranks);
    expect(taken).toBeLessThanOrEqual(keep * all);
    // Of all choices that are within it too, none loses less by more than what the last offer leaves.
    let least = Number.POSITIVE_INFINITY;
    for (let a = 1; a <= 20; a++) {
      for (let b = 1; b <= 20; b++) {
        for (let c = 1; c <= 20; c++) {
          const others = new Map([
            ['steep', a],
            ['flat', b],
            ['slow', c],
          ]);
          if (parameters(matrices, others) <= taken) least = Math.min(least, loss(matrices, others));
        }
      }
    }
    expect(loss(matrices, ranks), String(keep)).toBeLessThanOrEqual(least + 0.05);
    expect(ranks.get('steep')!).toBeLessThan(keep < 0.6 ? 16 : 41);
  }
});

test('a matrix that is worth it stays whole, and singular values that nobody looked at count evenly', () => {
  const matrices = [matrix('flat', 40, 40, () => 1), matrix('one', 40, 40, (i) => (i === 0 ? 1 : 0))];
  const ranks = allocateRanks(matrices, 0.6);
  expect(ranks).toEqual(
    new Map([
      ['flat', 40],
      ['one', 1],
    ]),
  );
  const partly = [matrix('known', 40, 40, () => 1), matrix('partly', 40, 40, () => 1, 5)];
  const found = allocateRanks(partly, 0.5);
  expect(found.get('partly')! + found.get('known')!).toBe(20);
  expect(allocateRanks([matrix('zero', 8, 8, () => 0)], 0.9).get('zero')).toBeGreaterThanOrEqual(1);
});

test('times go straight between measured ranks, and never down', () => {
  const { whole, of } = rankCosts(9, [4, 8, 16], [1, 3, 2]);
  expect(whole).toBe(9);
  expect([1, 4, 6, 8, 12, 16, 40].map(of)).toEqual([1, 1, 2, 3, 3, 3, 3]);
});

test('a budget of time is kept by the costs that matrices have, whatever their sizes', () => {
  // As many parameters each: one is twice as slow whole, and one no faster as factors.
  const costs: Record<string, RankCosts> = {
    slow: { whole: 20, of: (rank) => 2 + rank / 2 },
    fast: { whole: 10, of: (rank) => 1 + rank / 4 },
    never: { whole: 5, of: () => 6 },
  };
  const matrices = Object.entries(costs).map(([name, cost]) => ({
    ...matrix(name, 60, 60, (i) => 1 / (1 + i)),
    costs: cost,
  }));
  const time = (ranks: ReadonlyMap<string, number>) =>
    matrices.reduce((sum, { name, costs: { whole, of } }) => {
      const rank = ranks.get(name)!;
      return sum + (rank === 60 ? whole : of(rank));
    }, 0);
  for (const keep of [0.4, 0.6, 0.8]) {
    const ranks = allocateRanks(matrices, keep);
    expect(ranks.get('never')).toBe(60);
    expect(time(ranks)).toBeLessThanOrEqual(keep * 35);
    expect(time(ranks)).toBeGreaterThan(keep * 35 - 1);
    // The same spectrum: the one whose ranks cost less has more of them.
    expect(ranks.get('fast')!).toBeGreaterThan(ranks.get('slow')!);
  }
});
