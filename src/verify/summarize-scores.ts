import { NonFiniteError } from '../errors.ts';
import type { TokenScore } from './combine-scores.ts';
import { bootstrap, MIN_INTERVAL_VALUES, mean, perplexityOf, quantile } from './statistics.ts';

/** What compression did to the predictions for a text. */
export interface Accuracy {
  readonly windows: number;
  readonly tokens: number;
  /** exp(mean negative natural-log likelihood of tokens 2.. of each window). */
  readonly perplexity: { readonly original: number; readonly compressed: number };
  /** KL(original ‖ compressed) in nats per token. */
  readonly kl: { readonly mean: number; readonly p99: number };
  readonly top1Agreement: number;
}

/** Logits or likelihoods that are no numbers. */
export class LogitsError extends NonFiniteError {
  /** How many, at the token that the message names. */
  readonly count: number;

  constructor(message: string, count: number) {
    super(message);
    this.count = count;
  }
}

/** @throws LogitsError that names one of the two models, where one of its scores of a window is no number */
export function throwIfNonFinite(
  scores: readonly TokenScore[],
  window: number,
  names: readonly [string, string] = ['The original model', 'The compressed model'],
): void {
  const bad = scores.findIndex(
    ({ nonFinite, original, compressed, kl }) =>
      nonFinite[0] + nonFinite[1] > 0 || ![original, compressed, kl].every(Number.isFinite),
  );
  if (bad < 0) return;
  const { nonFinite, original } = scores[bad]!;
  const name = nonFinite[0] > 0 || (nonFinite[1] === 0 && !Number.isFinite(original)) ? names[0] : names[1];
  throw new LogitsError(
    `${name} gives NaN or infinite logits at token ${bad} of window ${window}. Check its weights with "compressa inspect".`,
    Math.max(1, nonFinite[0] + nonFinite[1]),
  );
}

/**
 * 95% bootstrap interval of the increase of perplexity, as a fraction. Whole windows are drawn, since tokens of one depend on each other, and
 * each with the scores of both models. Null where there are too few for an interval.
 */
export function increaseInterval(windows: readonly (readonly TokenScore[])[]): [number, number] | null {
  if (windows.length < MIN_INTERVAL_VALUES) return null;
  const losses = (of: (score: TokenScore) => number) => windows.map((scores) => mean(scores.map(of)));
  const original = losses((score) => score.original);
  const compressed = losses((score) => score.compressed);
  const perplexity = (all: readonly number[], drawn: readonly number[]) =>
    perplexityOf(mean(drawn.map((i) => all[i]!)));
  return bootstrap(windows.length, (drawn) => perplexity(compressed, drawn) / perplexity(original, drawn) - 1);
}

/** Means and quantiles over all tokens of all windows. */
export function summarizeScores(windows: readonly (readonly TokenScore[])[]): Accuracy {
  const all = windows.flat();
  const kls = all.map(({ kl }) => kl);
  return {
    windows: windows.length,
    tokens: all.length,
    perplexity: {
      original: perplexityOf(mean(all.map((score) => score.original))),
      compressed: perplexityOf(mean(all.map((score) => score.compressed))),
    },
    kl: { mean: mean(kls), p99: quantile(kls, 0.99) },
    top1Agreement: mean(all.map(({ agree }) => (agree ? 1 : 0))),
  };
}
