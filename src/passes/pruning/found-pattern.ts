/** Groups of weights next to each other in a row, of so many; and how many of one are not zero at most. */
interface Groups {
  readonly of: number;
  most: number;
}

const LARGEST_GROUP = 16;
/** In fewer groups zeros may have a pattern by chance. */
const LEAST_GROUPS = 200;
/** A pattern that is there accounts for the zeros: of what it keeps, rounding makes this share zero at most. */
const MOST_ROUNDED = 0.15;

/** Finds the N:M pattern that the zeros of a matrix have, some rows at a time. */
export class FoundPattern {
  readonly #k: number;
  #rows = 0;
  /** Those of which no group is without a zero so far. */
  #groups: Groups[] = Array.from({ length: LARGEST_GROUP - 1 }, (_, i) => ({ of: i + 2, most: 0 }));

  constructor(k: number) {
    this.#k = k;
  }

  /** Takes whole rows. */
  add(values: Float32Array): void {
    for (let row = 0; row < values.length; row += this.#k) {
      this.#rows++;
      for (const groups of this.#groups) {
        for (let first = row; first < row + this.#k && groups.most < groups.of; first += groups.of) {
          let count = 0;
          for (let at = first; at < Math.min(first + groups.of, row + this.#k); at++) if (values[at] !== 0) count++;
          groups.most = Math.max(groups.most, count);
        }
      }
      this.#groups = this.#groups.filter(({ of, most }) => most < of);
    }
  }

  /**
   * As recipes write it, `2:4`: the one that removes most, of equal ones that of the smallest groups; undefined where none accounts for the zeros.
   * @param zeros the share of weights that are zero
   */
  find(zeros: number): string | undefined {
    const [best] = this.#groups
      .filter(({ of, most }) => most > 0 && this.#rows * Math.floor(this.#k / of) >= LEAST_GROUPS)
      .sort((a, b) => a.most / a.of - b.most / b.of || a.of - b.of);
    if (!best) return undefined;
    const kept = best.most / best.of;
    return zeros <= 1 - kept + MOST_ROUNDED * kept ? `${best.most}:${best.of}` : undefined;
  }
}
