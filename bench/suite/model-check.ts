// What a model makes in the very run that is timed, held to what its weights make elsewhere.
import { KERNEL_ERROR_MOST } from '../../src/verify/checks.ts';
import type { ModelWork, OutputReference } from './contestant.ts';
import type { LoadedModel } from './model-load.ts';

/**
 * Where products are of integers: inputs that lie near a tie round to the other of two codes when sums differ in their last bit, a 127th of the largest of their token, and that goes on
 * through the layers. Wrong kernels are off by as much as logits are large.
 */
const INTEGER_ERROR_MOST = 2 ** -6;

/**
 * Errors relative to the largest logit, as logarithms of probabilities: logits may be off by a constant, since some only give those. Of a prompt the output is the logits of its last token. Of tokens that are written it is those tokens and the logits that the last one was
 * chosen by: each has to be the reference's choice but for that error, after the same tokens.
 */
export function modelReference(model: LoadedModel, { phase, prompt, count }: ModelWork): OutputReference {
  const { vocabulary } = model.graph;
  const integers = [...model.weights.values()].some(({ format }) => format.activations !== undefined);
  return {
    tolerance: integers ? INTEGER_ERROR_MOST : KERNEL_ERROR_MOST,
    error: async (output) => {
      const written = phase === 'prefill' ? [] : [...output.subarray(0, count)];
      if (output.length !== written.length + vocabulary) return Number.POSITIVE_INFINITY;
      if (!written.every((token) => Number.isInteger(token) && token >= 0 && token < vocabulary)) {
        return Number.POSITIVE_INFINITY;
      }
      const text = [...prompt, ...written.slice(0, -1)];
      const expected = await model.reference(Uint32Array.from(text));
      const rowOf = (position: number) =>
        Array.from({ length: vocabulary }, (_, i) => expected[position * vocabulary + i]!);
      const largestOf = (row: readonly number[]) => row.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
      const last = rowOf(text.length - 1);
      const wanted = logProbabilities(last);
      const got = logProbabilities(output.subarray(written.length));
      // NaN stays: an error that is none is no figure.
      const errors = [wanted.reduce((worst, x, i) => Math.max(worst, Math.abs(got[i]! - x)), 0) / largestOf(last)];
      for (const [i, token] of written.entries()) {
        const row = rowOf(prompt.length - 1 + i);
        errors.push((row.reduce((a, b) => Math.max(a, b)) - row[token]!) / largestOf(row));
      }
      return Math.max(...errors);
    },
  };
}

function logProbabilities(logits: ArrayLike<number>): Float64Array {
  const values = Float64Array.from(logits);
  const largest = values.reduce((a, b) => Math.max(a, b));
  const sum = values.reduce((total, value) => total + Math.exp(value - largest), 0);
  return values.map((value) => value - largest - Math.log(sum));
}
