import { ArgumentError, NonFiniteError } from '../../errors.ts';
import type { Numbers } from './array.ts';
import { softmax } from './softmax.ts';

/** How the next token is chosen from probabilities. */
export interface Sampling {
  /** 0 takes the most likely token. */
  readonly temperature: number;
  /** Only the k most likely tokens are eligible; 0 for all. */
  readonly topK: number;
  /** Only the fewest tokens whose probabilities reach this sum are eligible; 1 for all. */
  readonly topP: number;
}

/**
 * The next token. `uniform` is in [0, 1), see `randomUniform`.
 *
 * Temperature 0: the largest logit, the lowest index among equals. Otherwise the tokens are sorted by logit, largest
 * first, lower index first among equals; the first `topK` stay; softmax(logit / temperature) over those gives
 * probabilities; the shortest prefix whose sum is at least `topP` stays; and the token is the first of the prefix
 * whose running sum exceeds `uniform` · (sum of the prefix).
 */
export function chooseToken(logits: Numbers, { temperature, topK, topP }: Sampling, uniform: number): number {
  checkSampling({ temperature, topK, topP });
  for (const [i, logit] of logits.entries()) {
    if (!Number.isFinite(logit))
      throw new NonFiniteError(`The logit of token ${i} is ${logit}; no token can be chosen.`);
  }
  const sorted = Array.from(logits.keys()).sort((a, b) => logits[b]! - logits[a]! || a - b);
  if (temperature === 0) return sorted[0]!;

  const kept = topK === 0 ? sorted : sorted.slice(0, topK);
  const largest = logits[kept[0]!]!;
  // Shifted before the division: a tiny temperature would turn the logits themselves into infinities.
  const probabilities = softmax(Float64Array.from(kept, (i) => (logits[i]! - largest) / temperature));

  let prefix = 0;
  let total = 0;
  while (prefix < kept.length && (prefix === 0 || total < topP)) total += probabilities[prefix++]!;

  let sum = 0;
  for (let i = 0; i < prefix; i++) {
    sum += probabilities[i]!;
    if (sum > uniform * total) return kept[i]!;
  }
  return kept[prefix - 1]!;
}

/** Throws `ArgumentError` unless every field is in range. */
export function checkSampling({ temperature, topK, topP }: Sampling): void {
  if (!(temperature >= 0 && temperature < Number.POSITIVE_INFINITY)) {
    throw new ArgumentError(`Temperature is ${temperature}; give a finite number, 0 (greedy) or more.`);
  }
  if (!Number.isSafeInteger(topK) || topK < 0) {
    throw new ArgumentError(`Top-k is ${topK}; give a whole number, 0 for no limit.`);
  }
  if (!(topP > 0 && topP <= 1)) {
    throw new ArgumentError(`Top-p is ${topP}; give a number above 0 and up to 1 (no limit).`);
  }
}
