import { ArgumentError, NonFiniteError } from '../errors.ts';
import { checkCancelled } from '../files/cancel.ts';
import type { Decoder } from '../graph/decoder.ts';
import { compareLogitsStep, readScores, SCORE_FIELDS, type TokenScore } from './compare-logits.ts';
import { mean, perplexityOf, quantile } from './statistics.ts';

export interface WindowOptions {
  /** Tokens in a window; each window starts with empty caches. Default 256. */
  readonly window?: number;
  /** Windows from the start of the text. Default: all whole ones. */
  readonly windows?: number;
}

/** Cuts a text's tokens into whole windows. @throws ArgumentError when there is none. */
export function cutWindows(tokens: ArrayLike<number>, options: WindowOptions = {}): Uint32Array[] {
  const { window = 256, windows = Number.POSITIVE_INFINITY } = options;
  if (!Number.isInteger(window) || window < 2)
    throw new ArgumentError(`A window has at least 2 tokens, not ${window}.`);
  const count = Math.min(Math.floor(tokens.length / window), windows);
  if (!(count >= 1)) {
    throw new ArgumentError(
      `The text has ${tokens.length} tokens, fewer than one window of ${window}. Give more text or a smaller --window.`,
    );
  }
  const all = Uint32Array.from(tokens);
  return Array.from({ length: count }, (_, i) => all.slice(i * window, (i + 1) * window));
}

export interface Accuracy {
  readonly windows: number;
  readonly tokens: number;
  /** exp(mean negative natural-log likelihood of tokens 2.. of each window). */
  readonly perplexity: { readonly original: number; readonly compressed: number };
  /** KL(original ‖ compressed) in nats per token. */
  readonly kl: { readonly mean: number; readonly p99: number };
  readonly top1Agreement: number;
}

export interface ScoreOptions {
  /** What errors call the two models. Default: "The original model" and "The compressed model". */
  readonly names?: readonly [string, string];
  readonly signal?: AbortSignal;
  /** Windows done and in all. */
  readonly onProgress?: (done: number, total: number) => void;
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

/**
 * Scores two models on the same windows; logits never leave the GPU. Give the original twice to score one.
 * @throws LogitsError when a logit is NaN or infinite
 */
export async function scoreWindows(
  original: Decoder,
  compressed: Decoder,
  windows: readonly Uint32Array[],
  options: ScoreOptions = {},
): Promise<Accuracy> {
  return summarizeScores(await scoreTokens(original, compressed, windows, options));
}

/** The scores behind `scoreWindows`: a list a window, one entry for each of its tokens but the first. */
export async function scoreTokens(
  original: Decoder,
  compressed: Decoder,
  windows: readonly Uint32Array[],
  options: ScoreOptions = {},
): Promise<TokenScore[][]> {
  const { gpu, graph } = original;
  const length = windows[0]!.length;
  const scores = { buffer: gpu.memory.allocate(length * SCORE_FIELDS * 4, 'scores') };
  const targets = { buffer: gpu.memory.allocate(length * 4, 'targets') };
  const all: TokenScore[][] = [];
  try {
    for (const [i, window] of windows.entries()) {
      checkCancelled(options.signal, 'The verification');
      original.rewind();
      const a = await original.forward(window);
      let b = a;
      if (compressed !== original) {
        compressed.rewind();
        b = await compressed.forward(window);
      }
      const next = new Uint32Array(length);
      next.set(window.subarray(1));
      gpu.upload(targets.buffer, new Uint8Array(next.buffer));
      await gpu.scheduler.run([
        compareLogitsStep({
          original: a.logits,
          compressed: b.logits,
          targets,
          scores,
          tokens: length - 1,
          vocabulary: graph.vocabulary,
        }),
      ]);
      const scored = readScores(await gpu.readBack(scores.buffer, 0, (length - 1) * SCORE_FIELDS * 4));
      throwIfNonFinite(scored, i, options.names);
      all.push(scored);
      options.onProgress?.(i + 1, windows.length);
    }
  } finally {
    gpu.memory.release(scores.buffer);
    gpu.memory.release(targets.buffer);
  }
  return all;
}

function throwIfNonFinite(
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
