import { distance } from 'fastest-levenshtein';

/** More changes make another word. Absolute in long names, since those are often alike in all but a short part. */
const MOST_CHANGES = 2;

/** What counts as a misspelling. */
export interface SuggestOptions {
  /** A wrong digit is one, too. Default: it means another layer or version. */
  readonly digits?: boolean;
}

/**
 * The candidate of which `name` may be a misspelling: one that differs in at most half of its characters, and in no more than two.
 * Case does not count.
 */
export function nearest(
  name: string,
  candidates: Iterable<string>,
  { digits = false }: SuggestOptions = {},
): string | undefined {
  const digitsOf = (text: string) => (digits ? '' : text.replace(/\D+/g, ' ').trim());
  let found: string | undefined;
  let least = Math.min(MOST_CHANGES, Math.floor(name.length / 2)) + 1;
  for (const candidate of candidates) {
    // What differs in length by as much differs by as many changes.
    if (Math.abs(candidate.length - name.length) >= least || digitsOf(candidate) !== digitsOf(name)) continue;
    const changes = distance(name.toLowerCase(), candidate.toLowerCase());
    if (changes < least) [found, least] = [candidate, changes];
  }
  return found;
}

/** ` Did you mean "…"?`, or nothing. Names that come from a file go through `nearest` and `quote` instead. */
export function suggest(name: string, candidates: Iterable<string>, options?: SuggestOptions): string {
  const found = nearest(name, candidates, options);
  return found === undefined ? '' : ` Did you mean "${found}"?`;
}
