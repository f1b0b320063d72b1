/** Windows whose tokens' rows of the embedding are on the GPU together. */
export interface EmbeddingBatch<T> {
  /** Distinct tokens, ascending. */
  readonly rows: Uint32Array;
  readonly windows: readonly T[];
}

/** Puts windows together, in their order, as long as they have no more than `most` distinct tokens; a window is never cut. */
export function* batchWindows<T extends { readonly tokens: Uint32Array }>(
  windows: readonly T[],
  most: number,
): Generator<EmbeddingBatch<T>> {
  let rows = new Set<number>();
  let batch: T[] = [];
  const taken = (): EmbeddingBatch<T> => ({ rows: Uint32Array.from(rows).sort(), windows: batch });
  for (const window of windows) {
    const joined = new Set([...rows, ...window.tokens]);
    if (batch.length > 0 && joined.size > Math.max(most, rows.size)) {
      yield taken();
      rows = new Set(window.tokens);
      batch = [];
    } else rows = joined;
    batch.push(window);
  }
  if (batch.length > 0) yield taken();
}

/** Where each token stands among the rows, which ascend and hold them all. */
export function indexesIn(rows: Uint32Array, tokens: Uint32Array): Uint32Array {
  const at = new Map([...rows].map((row, i) => [row, i]));
  return tokens.map((token) => at.get(token)!);
}
