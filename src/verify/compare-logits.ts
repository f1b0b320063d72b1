import source from '../../shaders/verify/compare_logits.wgsl';
import { ArgumentError } from '../errors.ts';
import { type BufferView, MAX_GRID, packParams, type Step } from '../gpu/kernel.ts';
import { checkSizes, reads, writes } from '../kernels/exact.ts';

/** 32-bit words that the kernel writes for each token. */
export const SCORE_FIELDS = 11;

/** Power of two by which the kernel scales differences of logits, so that they do not overflow. */
const SCALE = 2 ** -32;

/** What one model's logits say of a token, as far as a slice of the vocabulary goes. Those that are not finite count as absent. */
export interface SliceOfModel {
  /** The largest logit. */
  readonly largest: number;
  /** The first token of the vocabulary that has it; −1 where no logit is finite. */
  readonly first: number;
  /** Sum of exp(logit − largest). */
  readonly mass: number;
  /** The target's logit, where it lies in the slice. */
  readonly target: number | undefined;
  /** Logits that are NaN or infinite. */
  readonly nonFinite: number;
}

/** What the logits of two models say of a token, as far as a slice of the vocabulary goes. */
export interface SliceScore {
  readonly original: SliceOfModel;
  readonly compressed: SliceOfModel;
  /** Sum of exp(a − largest a) · ((a − largest a) − (b − largest b)) over logits a of the original and b of the compressed model. */
  readonly cross: number;
}

/** What comparing the logits of two models reads and writes. */
export interface CompareLogitsArguments {
  /** f32 [tokens, size], of the original. */
  readonly original: BufferView;
  /** f32 [tokens, size]; give `original` again to score one model. */
  readonly compressed: BufferView;
  /** u32 [tokens]: the token that follows each. */
  readonly targets: BufferView;
  /** [tokens, SCORE_FIELDS] words */
  readonly scores: BufferView;
  readonly tokens: number;
  /** The slice of the vocabulary that the logits are of. */
  readonly start: number;
  readonly size: number;
}

/**
 * One step that scores every token of a window over a slice of the vocabulary; the logits stay on the GPU. Up to 65,535 tokens.
 * @throws ArgumentError for sizes and buffers that do not fit
 */
export function compareLogitsStep(args: CompareLogitsArguments): Step {
  const label = 'compare logits';
  const { original, compressed, targets, scores, tokens, start, size } = args;
  checkSizes(label, { tokens, size });
  if (tokens > MAX_GRID) throw new ArgumentError(`${label}: ${tokens} tokens; at most ${MAX_GRID} in a step.`);
  if (!Number.isInteger(start) || start < 0 || start + size > 2 ** 32) {
    throw new ArgumentError(`${label}: the slice begins at ${start}; give the first of its ${size} tokens, from 0.`);
  }
  return {
    label,
    kernel: { source },
    bindings: [
      reads(label, 'original', original, tokens * size),
      reads(label, 'compressed', compressed, tokens * size),
      reads(label, 'targets', targets, tokens),
      writes(label, 'scores', scores, tokens * SCORE_FIELDS),
    ],
    params: packParams(start, size),
    grid: [tokens, 1, 1],
  };
}

/** Unpacks what the step wrote for tokens with these targets. */
export function readSliceScores(
  bytes: Uint8Array<ArrayBuffer>,
  targets: ArrayLike<number>,
  { start, size }: Pick<CompareLogitsArguments, 'start' | 'size'>,
): SliceScore[] {
  const numbers = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  return Array.from({ length: words.length / SCORE_FIELDS }, (_, token) => {
    const holdsTarget = targets[token]! >= start && targets[token]! < start + size;
    const model = (at: number): SliceOfModel => ({
      largest: numbers[at]!,
      first: words[at + 1] === NONE ? -1 : start + words[at + 1]!,
      mass: numbers[at + 2]!,
      target: holdsTarget ? numbers[at + 3] : undefined,
      nonFinite: words[at + 4]!,
    });
    const at = token * SCORE_FIELDS;
    return { original: model(at), compressed: model(at + 5), cross: numbers[at + 10]! / SCALE };
  });
}

/** The index of no logit. */
const NONE = 0xffffffff;
