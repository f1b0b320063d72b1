import source from '../../shaders/layers/embedding.wgsl';
import { ArgumentError, FormatError } from '../errors.ts';
import { shaderConstants } from '../formats/layout.ts';
import { type BufferView, packParams, type Step } from '../gpu/kernel.ts';
import { each } from './each.ts';
import { checkSizes, reads, writes } from './exact.ts';
import { type Weight, weightBindings } from './weight.ts';

export interface EmbeddingArguments {
  /** u32 token ids. Each must be a row of the weight: for others, the row of `out` is left alone. */
  readonly ids: BufferView;
  readonly weight: Weight;
  readonly out: BufferView;
  readonly tokens: number;
  /** Default 1. */
  readonly scale?: number;
}

/**
 * out[t] = row ids[t] of the weight times the scale; a step for each part of the weight.
 * @throws ArgumentError; FormatError for packed weights
 */
export function embeddingSteps({ ids, weight, out, tokens, scale = 1 }: EmbeddingArguments): Step[] {
  const label = 'embedding';
  const { format, k: width } = weight;
  checkSizes(label, { tokens, width });
  if (format.packed || format.blocks) {
    throw new FormatError(`${label}: rows are looked up one by one, which weights in ${format.name} can't be.`);
  }
  if (!Number.isFinite(scale)) throw new ArgumentError(`${label}: the scale is ${scale}.`);
  return weight.parts.map((part) => {
    checkSizes(label, { rows: part.rows, width });
    return {
      label,
      ...each(tokens * Math.ceil(width / 4), {
        source,
        format: format.shader,
        constants: shaderConstants(format, width),
      }),
      bindings: [reads(label, 'ids', ids, tokens), writes(label, 'out', out, tokens * width)],
      weight: weightBindings(part),
      params: packParams(tokens, width, part.rowStart, part.rows, { f32: scale }),
      bytes: 4 * tokens * width,
    };
  });
}
