import type { Graph } from '../graph/graph.ts';
import type { DecoderShape } from './config.ts';
import { decoderGraph } from './decoder-graph.ts';
import { rotaryLayer } from './layers.ts';

/** Shapes of Llama 3.2 1B: what one layer costs there is what a small model cannot show. */
export const SHAPES_1B = { hidden: 2048, ffn: 8192, heads: 32, kvHeads: 8, headDim: 64, vocabulary: 128256 } as const;

/** Sizes of a stack of layers. */
export interface StackShapes extends Pick<DecoderShape, Exclude<keyof typeof SHAPES_1B, 'ffn'>> {
  readonly ffn: number;
  readonly layers: number;
  /** Default: 2048. */
  readonly maxPositions?: number;
}

/**
 * A Llama-type graph of the given shapes, for synthetic weights: `stackGraph({ ...SHAPES_1B, layers: 2,
 * vocabulary: 4096 })`. What is left out is as the sample model has it: tied head, no biases.
 */
export function stackGraph({ layers, ffn, maxPositions = 2048, ...sizes }: StackShapes): Graph {
  const shape: DecoderShape = {
    ...sizes,
    ffn: Array.from({ length: layers }, () => ffn),
    maxPositions,
    normEpsilon: 1e-5,
  };
  const layer = rotaryLayer({ shape, theta: 10000 }, 'The stack');
  return decoderGraph({ ...shape, layers: Array.from({ length: layers }, () => layer), tiedHead: true });
}
