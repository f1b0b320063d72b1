import { checkCancelled } from '../files/cancel.ts';
import type { Checkpoint } from '../files/checkpoint.ts';
import type { Decoder } from '../graph/decoder.ts';
import { ReferenceRun } from '../graph/reference.ts';
import { dequantizedWeights } from '../passes/load-weights.ts';
import type { ScoreOptions } from './accuracy.ts';
import type { Report } from './report-schema.ts';

/** Tokens that the f64 reference computes. */
export const REFERENCE_TOKENS = 16;

/** The reference lets others have the thread at least this often, where an operation takes no longer: Ctrl-C, a page's events. */
const YIELD_MILLISECONDS = 30;

/**
 * The GPU's logits against the f64 reference over the same dequantized weights: quantization is not in the difference, what is left is the
 * kernels' own error. Every value on the way is looked at; those that hold NaN or infinity are named, layer first.
 * @throws FileError, CancelledError, OutOfMemoryError
 */
export async function checkKernels(
  decoder: Decoder,
  checkpoint: Checkpoint,
  tokens: Uint32Array,
  { signal, onProgress }: ScoreOptions = {},
): Promise<NonNullable<Report['kernels']>> {
  const { gpu, graph } = decoder;
  decoder.rewind();
  const { values } = await decoder.forward(tokens, { keepValues: true });
  const nonFinite: string[] = [];
  let logits = new Float32Array();
  for (const [name, view] of values) {
    const got = new Float32Array((await gpu.readBack(view.buffer, 0, view.size)).buffer);
    if (!got.every(Number.isFinite)) nonFinite.push(name);
    if (name === graph.logits) logits = got;
  }
  if (nonFinite.length > 0) return { maxRelativeError: null, nonFinite };
  const reference = new ReferenceRun(graph, await dequantizedWeights(checkpoint, graph, signal));
  let largest = 0;
  let worst = 0;
  let rested = performance.now();
  for (const [at, token] of tokens.entries()) {
    // A token at a time, so that no operation takes long.
    const steps = reference.forwardSteps([token]);
    let step = steps.next();
    while (!step.done) {
      checkCancelled(signal, 'The verification');
      if (performance.now() - rested > YIELD_MILLISECONDS) {
        await new Promise((resolve) => setTimeout(resolve));
        rested = performance.now();
      }
      step = steps.next();
    }
    for (const [i, value] of step.value.entries()) {
      largest = Math.max(largest, Math.abs(value));
      worst = Math.max(worst, Math.abs(logits[at * graph.vocabulary + i]! - value));
    }
    onProgress?.(at + 1, tokens.length);
  }
  // What exceeds f64 where the GPU noticed nothing.
  if (!Number.isFinite(worst)) return { maxRelativeError: null, nonFinite: [`${graph.logits} of the reference`] };
  return { maxRelativeError: worst / Math.max(largest, Number.MIN_VALUE), nonFinite };
}
