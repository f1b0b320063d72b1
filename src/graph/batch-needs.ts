import type { Gpu } from '../gpu/gpu.ts';
import { type DecoderBuffers, type PlanOptions, planBatch } from './batch.ts';
import type { Graph } from './graph.ts';
import type { Need } from './variant-choice.ts';

/**
 * What a batch asks a choice of variants for, stacked products included: found by planning it once, since what is launched together depends on where weights lie.
 * @throws OutOfMemoryError, ModelError
 */
export function batchNeeds(
  gpu: Gpu,
  graph: Graph,
  buffers: DecoderBuffers,
  tokens: number,
  options: PlanOptions = {},
): Need[] {
  const needs: Need[] = [];
  const asking: DecoderBuffers = {
    ...buffers,
    linearVariant(shape, format) {
      needs.push({ kind: 'linear', format, ...shape });
      return buffers.linearVariant(shape, format);
    },
    integerVariant(shape, format) {
      needs.push({ kind: 'linear', format, ...shape });
      return buffers.integerVariant(shape, format);
    },
    attentionVariant(shape) {
      const { heads, kvHeads, headDim, maxPositions: positions, type: cache } = shape;
      needs.push({ kind: 'attention', heads, kvHeads, headDim, tokens: shape.tokens, positions, cache });
      return buffers.attentionVariant(shape);
    },
  };
  planBatch(gpu, graph, asking, tokens, options).release();
  return needs;
}
