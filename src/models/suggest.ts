import { closest, distance } from 'fastest-levenshtein';

/** ` Did you mean "…"?` for the candidate nearest to `name`, or nothing where none is near. */
export function suggest(name: string, candidates: readonly string[]): string {
  if (candidates.length === 0) return '';
  const nearest = closest(name, candidates);
  return distance(name, nearest) <= name.length / 2 ? ` Did you mean "${nearest}"?` : '';
}
