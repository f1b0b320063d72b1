import type { Graph } from '../graph/graph.ts';
import type { LlamaConfig } from './config.ts';
import { llamaGraph } from './llama.ts';

/** Shapes of Llama 3.2 1B: what one layer costs there is what a small model cannot show. */
export const SHAPES_1B = { hidden: 2048, ffn: 8192, heads: 32, kvHeads: 8, headDim: 64, vocabulary: 128256 } as const;

/**
 * A Llama-type graph of the given shapes, for synthetic weights: `stackGraph({ ...SHAPES_1B, layers: 2,
 * vocabulary: 4096 })`. What is left out is as the sample model has it: tied head, no biases.
 */
export function stackGraph(
  shapes: Pick<LlamaConfig, 'hidden' | 'ffn' | 'layers' | 'heads' | 'kvHeads' | 'headDim' | 'vocabulary'> &
    Partial<LlamaConfig>,
): Graph {
  return llamaGraph({
    maxPositions: 2048,
    normEpsilon: 1e-5,
    ropeTheta: 10000,
    attentionBias: false,
    mlpBias: false,
    tiedHead: true,
    ...shapes,
  });
}
