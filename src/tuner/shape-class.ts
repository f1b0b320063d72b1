import { checkRow } from '../formats/checks.ts';
import type { Format } from '../formats/format.ts';
import type { AttentionNeed, LinearNeed } from '../graph/variant-choice.ts';

/** Larger matrices are like this one, only more of the same. */
const MOST_SIZE = 16384;
/** A multiple of every format's blocks, as is each size of a class above it. */
const LEAST_K = 256;
const LEAST_ROWS = 64;
const MOST_TOKENS = 512;
/** Beyond 4096, the usual variant has as many shares as there are. */
const MOST_POSITIONS = 16384;

const powerAbove = (n: number): number => 2 ** Math.ceil(Math.log2(n));

/** The nearest, by ratio, of 2^n and 3 · 2^n: 512, 768, 1024, 1536 and so on. */
function roundSize(size: number, least: number): number {
  const power = 2 ** Math.floor(Math.log2(size));
  const steps = [1, 1.5, 2].map((step) => step * power);
  const far = (step: number) => Math.abs(Math.log(step / size));
  const nearest = steps.reduce((best, step) => (far(step) < far(best) ? step : best));
  return Math.min(MOST_SIZE, Math.max(least, nearest));
}

const isRow = (format: Format, k: number): boolean => {
  try {
    checkRow(format, k, 'row');
    return true;
  } catch {
    return false;
  }
};

/**
 * What stands for all products that are much alike, and is timed for them: rows and k at the nearest of 2^n and 3 · 2^n from 64 and 256 up to
 * 16384, tokens at the next power of two up to 512. A k that is no multiple of four, which other kernels multiply, is one more where the format
 * allows that.
 */
export function linearClass({ format, rows, k, tokens }: LinearNeed): LinearNeed {
  // Which blocks there are belongs to a matrix of one size.
  if (format.blocks) return { kind: 'linear', format, rows, k, tokens: Math.min(MOST_TOKENS, powerAbove(tokens)) };
  const even = roundSize(k, LEAST_K);
  const odd = k % 4 !== 0 && isRow(format, even + 1);
  return {
    kind: 'linear',
    format,
    rows: roundSize(rows, LEAST_ROWS),
    // Three times a power of two below 768 is no multiple of 256.
    k: odd ? even + 1 : isRow(format, even) ? even : powerAbove(even),
    tokens: Math.min(MOST_TOKENS, powerAbove(tokens)),
  };
}

/** The same of attention: heads and the caches' type as they are; tokens and positions at the next power of two, up to 512 and 16384. */
export function attentionClass({ heads, kvHeads, headDim, tokens, positions, cache }: AttentionNeed): AttentionNeed {
  const rounded = Math.min(MOST_TOKENS, powerAbove(tokens));
  return {
    kind: 'attention',
    ...{ heads, kvHeads, headDim, cache },
    tokens: rounded,
    positions: Math.max(rounded, Math.min(MOST_POSITIONS, powerAbove(positions))),
  };
}

/** Names a class. */
export const classKey = (one: LinearNeed | AttentionNeed): string =>
  one.kind === 'linear'
    ? `${one.format.name} ${one.rows}x${one.k}, ${one.tokens} tokens`
    : `attention ${one.heads}/${one.kvHeads}x${one.headDim} over ${one.cache}, ${one.tokens} tokens, ${one.positions} positions`;
