import { SHAPES_1B, type StackShapes } from '../../src/models/stack.ts';

type Shapes = Omit<StackShapes, 'layers' | 'maxPositions'>;

/** Llama 3.2 3B. */
const SHAPES_3B: Shapes = { hidden: 3072, ffn: 8192, heads: 24, kvHeads: 8, headDim: 128, vocabulary: 128256 };
/** Llama 3.1 8B. */
const SHAPES_8B: Shapes = { hidden: 4096, ffn: 14336, heads: 32, kvHeads: 8, headDim: 128, vocabulary: 128256 };

/** Layer shapes of Llama models, by size. */
export const MODEL_SHAPES: Readonly<Record<'1B' | '3B' | '8B', Shapes>> = {
  '1B': SHAPES_1B,
  '3B': SHAPES_3B,
  '8B': SHAPES_8B,
};

/** Outputs and inputs of a layer's matrices: queries (and output), keys (and values), gate (and up), down. */
export const matricesOf = ({ hidden, ffn, kvHeads, headDim }: Shapes): readonly (readonly [n: number, k: number])[] => [
  [hidden, hidden],
  [kvHeads * headDim, hidden],
  [ffn, hidden],
  [hidden, ffn],
];
