import type { Checkpoint } from '../files/checkpoint.ts';
import type { Decoder } from '../graph/decoder.ts';
import { ReferenceRun } from '../graph/reference.ts';
import { dequantizedWeights } from '../passes/load-weights.ts';
import type { Report } from './report-schema.ts';

/** Tokens that the f64 reference computes. */
export const REFERENCE_TOKENS = 16;

/**
 * The GPU's logits against the f64 reference over the same dequantized weights: quantization is not in the difference, what is left is the
 * kernels' own error. Every value on the way is looked at; those that hold NaN or infinity are named, layer first.
 * @throws FileError, CancelledError, OutOfMemoryError
 */
export async function checkKernels(
  decoder: Decoder,
  checkpoint: Checkpoint,
  tokens: Uint32Array,
  signal?: AbortSignal,
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
  const expected = new ReferenceRun(graph, await dequantizedWeights(checkpoint, graph, signal)).forward([...tokens]);
  let largest = 0;
  let worst = 0;
  for (const [i, value] of expected.entries()) {
    largest = Math.max(largest, Math.abs(value));
    worst = Math.max(worst, Math.abs(logits[i]! - value));
  }
  return { maxRelativeError: worst / Math.max(largest, Number.MIN_VALUE), nonFinite };
}
