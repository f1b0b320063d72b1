import { ArgumentError } from '../errors.ts';
import type { Format, QuantizeMethod, QuantizeOptions } from './format.ts';
import { integerName } from './integer-names.ts';

/** What a format says about methods. */
type Offer = Pick<Format, 'name' | 'searched' | 'searches' | 'weighs' | 'integer'>;

/** Whether scales of `format` can be searched for: the method `search`. */
export const searches = (format: Offer): boolean => Boolean(format.searched || format.searches);

/** Whether its search takes an importance of columns. */
export const weighs = (format: Offer): boolean => searches(format) && format.weighs === true;

/** Largest group of the method `hqq`. */
const HQQ_GROUP = 64;

/** Why the method `hqq` is not for a format, and which it is for; undefined where it is. */
export function hqqProblem({ name, integer }: Pick<Format, 'name' | 'integer'>): string | undefined {
  if (!integer) return `hqq is for integer groups whose zero points are floats, such as int4-g64-fzp, not for ${name}`;
  const long = integer.group === 'row' || integer.group > HQQ_GROUP;
  const fitting = integerName({ ...integer, zero: 'float', ...(long && { group: HQQ_GROUP }) });
  if (integer.zero !== 'float') return `hqq moves zero points that are floats, which ${name} has not: use ${fitting}`;
  if (long) return `hqq collapses on groups of more than ${HQQ_GROUP} weights, as ${name} has them: use ${fitting}`;
  return undefined;
}

/**
 * Whether quantizing searches, given what was asked for.
 * @throws ArgumentError for a method that the format does not offer or that there is not, and for an importance that would have no effect.
 */
export function methodSearches(format: Offer, method: QuantizeMethod = 'rtn', weighted = false): boolean {
  const { name } = format;
  if (method !== 'rtn' && method !== 'search' && method !== 'hqq') {
    throw new ArgumentError(`There is no method "${method}" of quantizing to ${name}: give "rtn", "search" or "hqq".`);
  }
  const problem = method === 'hqq' && hqqProblem(format);
  if (problem) throw new ArgumentError(`The method ${problem}.`);
  if (method === 'search' && !searches(format)) {
    throw new ArgumentError(`Scales of ${name} are not searched for: use the method "rtn", or another format.`);
  }
  const search = method !== 'hqq' && (format.searched === true || method === 'search');
  if (weighted && !weighs(format)) {
    throw new ArgumentError(
      `Quantizing to ${name} takes no importance of columns: leave it out, or use another format.`,
    );
  }
  if (weighted && !search) {
    throw new ArgumentError(`Quantizing to ${name} takes an importance of columns only with the method "search".`);
  }
  return search;
}

/**
 * The importance that a reference is to search with; undefined where it rounds to nearest or no column counts more than another.
 * @throws ArgumentError as `methodSearches` does, and for an importance that is not finite, negative or of another size than `k`.
 */
export function checkOptions(
  format: Offer,
  k: number,
  { method, importance }: QuantizeOptions = {},
): { readonly search: boolean; readonly importance?: Float32Array } {
  const search = methodSearches(format, method, importance !== undefined);
  if (!importance) return { search };
  checkImportance(importance, k);
  return importance.some((x) => x > 0) ? { search, importance } : { search };
}

/** Throws `ArgumentError` unless there is a number from 0 on for each of `k` columns. */
export function checkImportance(importance: Float32Array, k: number, tensorName?: string): void {
  const of = tensorName === undefined ? 'The importance' : `The importance for tensor "${tensorName}"`;
  if (importance.length !== k) {
    throw new ArgumentError(`${of} has ${importance.length} numbers; there are ${k} columns.`);
  }
  const bad = importance.findIndex((x) => !(x >= 0 && x < Number.POSITIVE_INFINITY));
  if (bad >= 0) {
    throw new ArgumentError(`${of} of column ${bad} is ${importance[bad]}; give finite numbers that are not negative.`);
  }
}
