import type { Gpu } from '../gpu/gpu.ts';
import { Decoder } from '../graph/decoder.ts';
import type { Graph } from '../graph/graph.ts';
import type { VariantChoice } from '../graph/variant-choice.ts';
import type { Weight } from '../kernels/weight.ts';

/** Lends a decoder with caches for `positions` tokens to `work`, and frees caches and activations as soon as that is done. */
export async function withDecoder<T>(
  gpu: Gpu,
  graph: Graph,
  weights: ReadonlyMap<string, Weight>,
  { positions, tuner }: { readonly positions: number; readonly tuner?: VariantChoice | undefined },
  work: (decoder: Decoder) => Promise<T>,
): Promise<T> {
  const decoder = new Decoder(gpu, graph, weights, { maxPositions: positions, ...(tuner && { tuner }) });
  try {
    return await work(decoder);
  } finally {
    decoder.release();
  }
}

/** Frees weights, each once however many maps hold it. */
export function releaseWeights(weights: Iterable<Weight>): void {
  for (const weight of new Set(weights)) weight.release();
}
