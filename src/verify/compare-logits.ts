import source from '../../shaders/verify/compare_logits.wgsl';
import { type BufferView, packParams, read, readWrite, type Step } from '../gpu/kernel.ts';

/** Numbers that the kernel writes for each token. */
export const SCORE_FIELDS = 6;

/** What two models make of one token. */
export interface TokenScore {
  /** Negative natural-log likelihood of the next token under the original and the compressed model. */
  readonly original: number;
  readonly compressed: number;
  /** KL(original ‖ compressed) in nats. */
  readonly kl: number;
  /** Both models put the same token first. */
  readonly agree: boolean;
  /** Logits that are NaN or infinite. */
  readonly nonFinite: readonly [number, number];
}

export interface CompareLogitsArguments {
  /** f32 [tokens, vocabulary], of the original. */
  readonly original: BufferView;
  /** f32 [tokens, vocabulary]; give `original` again to score one model. */
  readonly compressed: BufferView;
  /** u32 [tokens]: the token that follows each. */
  readonly targets: BufferView;
  /** f32 [tokens, SCORE_FIELDS] */
  readonly scores: BufferView;
  readonly tokens: number;
  readonly vocabulary: number;
}

/** One step that scores every token of a window; the logits stay on the GPU. Up to 65,535 tokens. */
export function compareLogitsStep(args: CompareLogitsArguments): Step {
  return {
    label: 'compare logits',
    kernel: { source },
    bindings: [read(args.original), read(args.compressed), read(args.targets), readWrite(args.scores)],
    params: packParams(args.vocabulary),
    grid: [args.tokens, 1, 1],
  };
}

/** Unpacks what the step wrote. */
export function readScores(bytes: Uint8Array<ArrayBuffer>): TokenScore[] {
  const values = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  return Array.from({ length: values.length / SCORE_FIELDS }, (_, i) => {
    const at = i * SCORE_FIELDS;
    return {
      original: values[at]!,
      compressed: values[at + 1]!,
      kl: values[at + 2]!,
      agree: values[at + 3] === 1,
      nonFinite: [values[at + 4]!, values[at + 5]!],
    };
  });
}
