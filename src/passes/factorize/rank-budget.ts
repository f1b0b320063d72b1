/** What is known of a matrix's singular values, whitened or not. */
export interface Spectra {
  readonly name: string;
  readonly rows: number;
  readonly columns: number;
  /** The largest ones, largest first. */
  readonly values: ArrayLike<number>;
  /** The sum of squares of all. */
  readonly total: number;
}

/** One more rank of a matrix, or all that it still lacks. */
interface Offer {
  readonly matrix: number;
  /** Of which this makes it; the smaller side: the matrix itself. */
  readonly rank: number;
  /** Parameters. */
  readonly cost: number;
  /** Share of the matrix's sum of squares, for each parameter. */
  readonly gain: number;
}

/**
 * Ranks at which matrices together have a share of their parameters and lose least, as the sum of their relative squared errors: from rank 1 of each on, whatever gains most for each parameter comes next. Since singular values fall, no other
 * choice of ranks is better but for what the last one leaves of the budget. A matrix whose next rank would not pay is taken whole, at what it still costs, where that is the best offer. Bytes and operations of products go with parameters where all have one type.
 * @param keep share of the parameters, above 0 and below 1
 * @returns ranks by name; the smaller side of a matrix that stays whole
 */
export function allocateRanks(matrices: readonly Spectra[], keep: number): Map<string, number> {
  const all = matrices.reduce((sum, { rows, columns }) => sum + rows * columns, 0);
  let left = Math.floor(keep * all) - matrices.reduce((sum, { rows, columns }) => sum + rows + columns, 0);
  const ranks = matrices.map(() => 1);
  // Of each matrix one offer at a time, the best first.
  const offers = matrices.flatMap((matrix, i) => offerOf(matrix, i, 1) ?? []);
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

function offerOf(of: Spectra, matrix: number, now: number): Offer | undefined {
  const { rows, columns } = of;
  const side = Math.min(rows, columns);
  if (now >= side) return undefined;
  const rank = now + 1;
  if (rank * (rows + columns) < rows * columns) {
    const cost = rows + columns;
    return { matrix, rank, cost, gain: shareOf(of, now, rank) / cost };
  }
  const cost = rows * columns - now * (rows + columns);
  return { matrix, rank: side, cost, gain: shareOf(of, now, side) / cost };
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
