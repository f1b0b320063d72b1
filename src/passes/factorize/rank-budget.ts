/** What is known of a matrix's singular values, whitened or not. */
export interface Spectra {
  readonly name: string;
  readonly rows: number;
  readonly columns: number;
  /** The largest ones, largest first. */
  readonly values: ArrayLike<number>;
  /** The sum of squares of all. */
  readonly total: number;
  /** Default: parameters. */
  readonly costs?: RankCosts;
}

/** What a matrix costs of a budget, in one unit for all. */
export interface RankCosts {
  readonly whole: number;
  /** As factors of a rank from 1 on. More for a higher one. */
  readonly of: (rank: number) => number;
}

const costsOf = ({ rows, columns, costs }: Spectra): RankCosts =>
  costs ?? { whole: rows * columns, of: (rank) => rank * (rows + columns) };

/** One more rank of a matrix, or all that it still lacks. */
interface Offer {
  readonly matrix: number;
  /** Of which this makes it; the smaller side: the matrix itself. */
  readonly rank: number;
  readonly cost: number;
  /** Share of the matrix's sum of squares, by its cost. */
  readonly gain: number;
}

/**
 * Ranks at which matrices together cost a share of what they do whole, and lose least, as the sum of their relative squared errors: from rank 1 of each on, whatever gains most for its cost comes next. Since singular values fall, no other
 * choice of ranks is better but for what the last one leaves of the budget, where each rank of a matrix costs the same. A matrix whose next rank would not pay is taken whole, at what it still costs, where that is the best offer. Bytes and
 * operations of products go with parameters where all have one type.
 * @param keep share of the cost, above 0 and below 1
 * @returns ranks by name; the smaller side of a matrix that stays whole
 */
export function allocateRanks(matrices: readonly Spectra[], keep: number): Map<string, number> {
  const pay = (matrix: Spectra) => (costsOf(matrix).of(1) < costsOf(matrix).whole ? 1 : sideOf(matrix));
  const ranks = matrices.map(pay);
  let left = 0;
  for (const [i, matrix] of matrices.entries()) {
    const { whole, of } = costsOf(matrix);
    left += keep * whole - (ranks[i] === 1 ? Math.min(whole, of(1)) : whole);
  }
  // Of each matrix one offer at a time, the best first.
  const offers = matrices.flatMap((matrix, i) => offerOf(matrix, i, ranks[i]!) ?? []);
  while (offers.length > 0) {
    const best = offers.reduce((most, offer, at) => (offer.gain > offers[most]!.gain ? at : most), 0);
    const [{ matrix, rank, cost, gain }] = offers.splice(best, 1) as [Offer];
    if (!(gain > 0)) break;
    if (cost > left) continue;
    left -= cost;
    ranks[matrix] = rank;
    const next = offerOf(matrices[matrix]!, matrix, rank);
    if (next) offers.push(next);
  }
  return new Map(matrices.map(({ name }, i) => [name, ranks[i]!]));
}

const sideOf = ({ rows, columns }: Spectra): number => Math.min(rows, columns);

function offerOf(matrix: Spectra, at: number, now: number): Offer | undefined {
  const side = sideOf(matrix);
  if (now >= side) return undefined;
  const { whole, of } = costsOf(matrix);
  const pays = of(now + 1) < whole;
  const rank = pays ? now + 1 : side;
  // A measured cost may stand still.
  const cost = Math.max((pays ? of(rank) : whole) - of(now), whole * 1e-9);
  return { matrix: at, rank, cost, gain: shareOf(matrix, now, rank) / cost };
}

/** What singular values from one place to another have of the sum of squares; those that nobody looked at share what is left evenly. */
function shareOf({ rows, columns, values, total }: Spectra, from: number, to: number): number {
  if (total === 0) return 0;
  let known = 0;
  for (let i = from; i < Math.min(to, values.length); i++) known += values[i]! ** 2;
  const among = to - Math.max(from, values.length);
  if (among <= 0) return known / total;
  let rest = total;
  for (let i = 0; i < values.length; i++) rest -= values[i]! ** 2;
  return (known + (Math.max(0, rest) * among) / (Math.min(rows, columns) - values.length)) / total;
}
