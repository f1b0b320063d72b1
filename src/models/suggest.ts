import { distance } from 'fastest-levenshtein';

/** More changes make another word. Absolute, since long names are often alike in all but a short part. */
const MOST_CHANGES = 2;

/**
 * ` Did you mean "…"?` for the candidate of which `name` may be a misspelling, or nothing. Case does not count. What differs in a
 * digit is another layer or version, not a misspelling.
 */
export function suggest(name: string, candidates: readonly string[]): string {
  const digits = (text: string) => text.replace(/\D+/g, ' ').trim();
  let nearest: string | undefined;
  let least = Math.min(MOST_CHANGES, Math.floor(name.length / 2)) + 1;
  for (const candidate of candidates) {
    if (digits(candidate) !== digits(name)) continue;
    const changes = distance(name.toLowerCase(), candidate.toLowerCase());
    if (changes < least) [nearest, least] = [candidate, changes];
  }
  return nearest === undefined ? '' : ` Did you mean "${nearest}"?`;
}
