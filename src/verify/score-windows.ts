import { checkCancelled } from '../files/cancel.ts';
import type { Decoder } from '../graph/decoder.ts';
import { targetsOf } from '../passes/windows.ts';
import { scoreOf, type TokenScore } from './combine-scores.ts';
import { compareLogitsStep, readSliceScores, SCORE_FIELDS } from './compare-logits.ts';
import { type Accuracy, summarizeScores, throwIfNonFinite } from './summarize-scores.ts';

/** What scoring tells while it runs, and when it stops. */
export interface ScoreOptions {
  /** What errors call the two models. Default: "The original model" and "The compressed model". */
  readonly names?: readonly [string, string];
  readonly signal?: AbortSignal;
  /** Windows done and in all. */
  readonly onProgress?: (done: number, total: number) => void;
}

/**
 * Scores two models that are on the GPU on the same windows; logits never leave it. Give the original twice to score one. `verify` does
 * the same for models of any size.
 * @throws NonFiniteError when a logit is NaN or infinite; CancelledError, DeviceLostError, OutOfMemoryError
 */
export async function scoreWindows(
  original: Decoder,
  compressed: Decoder,
  windows: readonly Uint32Array[],
  options: ScoreOptions = {},
): Promise<Accuracy> {
  const { gpu, graph } = original;
  const tokens = windows[0]!.length - 1;
  const scores = { buffer: gpu.memory.allocate(tokens * SCORE_FIELDS * 4, 'scores') };
  const targets = { buffer: gpu.memory.allocate(tokens * 4, 'targets') };
  const slice = { start: 0, size: graph.vocabulary };
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
      const next = targetsOf(window);
      gpu.upload(targets.buffer, new Uint8Array(next.buffer));
      await gpu.scheduler.run([
        compareLogitsStep({ original: a.logits, compressed: b.logits, targets, scores, tokens, ...slice }),
      ]);
      const bytes = await gpu.readBack(scores.buffer, 0, tokens * SCORE_FIELDS * 4);
      const scored = readSliceScores(bytes, next, slice).map(scoreOf);
      throwIfNonFinite(scored, i, options.names);
      all.push(scored);
      options.onProgress?.(i + 1, windows.length);
    }
  } finally {
    gpu.memory.release(scores.buffer);
    gpu.memory.release(targets.buffer);
  }
  return summarizeScores(all);
}
