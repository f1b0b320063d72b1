import { RecipeError } from '../../errors.ts';
import type { Format, QuantizeMethod } from '../../formats/format.ts';
import { hqqProblem, searches, weighs } from '../../formats/methods.ts';
import { suggest } from '../../suggest.ts';

/** How codes and scales of a matrix are chosen. */
export const METHODS = ['rtn', 'search', 'hqq', 'awq', 'gptq', 'smoothquant'] as const;
/** One of them. */
export type Method = (typeof METHODS)[number];

/** Methods that need to know the inputs of a matrix. */
export const needsCalibration = (method: Method): boolean => method === 'gptq' || scalesInputs(method);

/** Rounds of refinement where none are asked for. */
export const defaultRounds = (method: Method): number => (method === 'gptq' ? 3 : 0);
/** Rounds at most: each takes as long as GPTQ, and gains little from the fourth on. */
export const MOST_ROUNDS = 16;

/** Methods that divide inputs by factors, which go into the weights before them. */
export const scalesInputs = (method: Method): boolean => method === 'awq' || method === 'smoothquant';

/** The method of that name. @throws RecipeError that says which there are, and which may be meant */
export function methodByName(name: string, where = 'The method'): Method {
  const known = METHODS.find((method) => method === name);
  if (known) return known;
  throw new RecipeError(
    `${where}: there is no method "${name}".${suggest(name, METHODS)} Known: ${METHODS.join(', ')}.`,
  );
}

/** What is done where no method is named: scales are searched for where that is possible. */
export const defaultMethod = (format: Format): Method => (searches(format) ? 'search' : 'rtn');

/** Why a method can't be used with a format; undefined where it can. */
export function methodProblem(method: Method, format: Format): string | undefined {
  if (format.kind === 'dense') return undefined;
  if (method === 'search' && !searches(format)) return `scales of ${format.name} are not searched for: use rtn`;
  if (method === 'hqq') return hqqProblem(format);
  const integers = format.name.startsWith('w8a8');
  if (method === 'smoothquant' && !integers) {
    return `smoothquant is for formats that quantize activations, such as w8a8, not for ${format.name}: use awq`;
  }
  if (method === 'awq' && integers)
    return `awq is for formats that keep activations, not for ${format.name}: use smoothquant`;
  if (method === 'gptq' && !format.grid) return `gptq can't choose codes of ${format.name}: use rtn`;
  return undefined;
}

/** What `quantizeStep` is to do before anything else: the scales that a method starts from. */
export function startOf(
  method: Method,
  format: Format,
): { readonly method: QuantizeMethod; readonly weighted: boolean } {
  if (method === 'hqq') return { method, weighted: false };
  const search = method !== 'rtn' && method !== 'smoothquant' && searches(format);
  return { method: search ? 'search' : 'rtn', weighted: search && weighs(format) };
}
