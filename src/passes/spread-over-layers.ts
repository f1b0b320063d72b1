/** How far a layer's share may be from what all lose together, and how many shares are measured to either side. */
const RANGE = 0.16;
const STEPS = 2;

/** The shares at which costs are measured, ascending: as far to both sides of the share that all lose together. */
export function sharesAround(fraction: number): number[] {
  const range = Math.min(RANGE, 0.5 * fraction, 0.5 * (1 - fraction));
  return Array.from({ length: 2 * STEPS + 1 }, (_, i) => fraction + (range * (i - STEPS)) / STEPS);
}

/**
 * Shares whose costs add up to the least, the costs between two measured shares being on a line: the lower convex hull of each layer's costs is gone along, the step that costs least
 * for the weights that it removes first, until all that has to go is gone.
 * @param fraction of all weights that goes
 * @param shares at which costs were measured, ascending, around `fraction`
 */
export function cheapestShares(
  fraction: number,
  shares: readonly number[],
  layers: readonly { readonly size: number; readonly costs: readonly number[] }[],
): number[] {
  const steps = cheapestFirst(layers.map(({ size, costs }) => ({ size, at: shares, costs })));
  const found = layers.map(() => shares[0]!);
  let left = layers.reduce((sum, { size }) => sum + size, 0) * (fraction - shares[0]!);
  for (const { layer, from, to, weights } of steps) {
    const part = Math.min(1, left / weights);
    if (part <= 0) break;
    found[layer] = shares[from]! + part * (shares[to]! - shares[from]!);
    left -= part * weights;
  }
  return found;
}

/**
 * The same in whole numbers: how much each layer loses where all together lose exactly `total`.
 * @param layers numbers at which costs were measured, ascending, and those costs; all numbers and `total` are multiples of one step apart
 */
export function cheapestCounts(
  total: number,
  layers: readonly { readonly counts: readonly number[]; readonly costs: readonly number[] }[],
): number[] {
  const steps = cheapestFirst(layers.map(({ counts, costs }) => ({ size: 1, at: counts, costs })));
  const found = layers.map(({ counts }) => counts[0]!);
  let left = total - found.reduce((sum, count) => sum + count, 0);
  for (const { layer, weights } of steps) {
    const gone = Math.min(left, weights);
    found[layer]! += gone;
    left -= gone;
  }
  return found;
}

/** The steps along the hulls of all layers, the cheapest for what it removes first; of equal ones that of the first layer, and within a layer they ascend. */
function cheapestFirst(
  layers: readonly { readonly size: number; readonly at: readonly number[]; readonly costs: readonly number[] }[],
): { readonly layer: number; readonly from: number; readonly to: number; readonly weights: number }[] {
  const steps = layers.flatMap(({ size, at, costs }, layer) => {
    const hull = lowerHull(at, costs);
    return hull.slice(1).map((to, i) => {
      const from = hull[i]!;
      const weights = size * (at[to]! - at[from]!);
      return { layer, from, to, weights, slope: (costs[to]! - costs[from]!) / weights };
    });
  });
  return steps.sort((a, b) => a.slope - b.slope || a.layer - b.layer || a.from - b.from);
}

/** Indices of the points of a function that no line between two others goes below. */
function lowerHull(x: readonly number[], y: readonly number[]): number[] {
  const hull: number[] = [];
  for (const at of x.keys()) {
    while (hull.length >= 2) {
      const [a, b] = hull.slice(-2) as [number, number];
      if ((y[b]! - y[a]!) * (x[at]! - x[a]!) < (y[at]! - y[a]!) * (x[b]! - x[a]!)) break;
      hull.pop();
    }
    hull.push(at);
  }
  return hull;
}
