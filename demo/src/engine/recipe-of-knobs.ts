import type { Recipe } from '../../../src/index.ts';
import type { Knobs } from '../view-state.ts';

/** The knobs of a tensor, for all linear matrices. */
export function recipeOfKnobs({ format, method, pattern, packed, rank }: Knobs): Recipe {
  return {
    version: 1,
    rules: [
      {
        ...{ match: '*', role: 'linear', format },
        ...(method && { method }),
        ...(rank > 0 && { factorize: { rank } }),
        // Factors are not pruned.
        ...(pattern && rank === 0 && { prune: { pattern, ...(packed && { packed }) } }),
      },
    ],
  };
}
