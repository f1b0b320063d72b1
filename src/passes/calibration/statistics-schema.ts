import * as v from 'valibot';

/** The key of `__metadata__` that makes a safetensors file one of statistics. */
export const STATISTICS_KEY = 'compressa.statistics';

/** Inputs of a model at most. */
const MAX_INPUTS = 65536;
const name = v.pipe(v.string(), v.minLength(1), v.maxLength(1024));
const count = v.pipe(v.number(), v.integer(), v.minValue(1));

/**
 * What a file of statistics says of itself. Of each input it has the tensors `<input>.mean_abs`, `<input>.mean_square` and `<input>.abs_max`, f32 [k],
 * and `<input>.hessian`, f32 [k, k], where the device had room for it.
 */
export interface StatisticsHeader {
  readonly version: 1;
  /** Tokens that were seen. */
  readonly tokens: number;
  readonly inputs: readonly {
    readonly input: string;
    readonly k: number;
    /** Matrices that multiply it. */
    readonly weights: readonly string[];
  }[];
}

/** The same, as it is checked. */
export const StatisticsSchema = v.strictObject({
  version: v.literal(1),
  tokens: count,
  inputs: v.pipe(
    v.array(
      v.strictObject({
        input: name,
        k: count,
        weights: v.pipe(v.array(name), v.minLength(1), v.maxLength(MAX_INPUTS)),
      }),
    ),
    v.minLength(1),
    v.maxLength(MAX_INPUTS),
  ),
}) satisfies v.GenericSchema<unknown, StatisticsHeader>;
