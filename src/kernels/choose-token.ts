import source from '../../shaders/layers/choose_token.wgsl';
import { NonFiniteError } from '../errors.ts';
import { type BufferView, packParams, type Step } from '../gpu/kernel.ts';
import { checkSampling, type Sampling } from '../graph/reference/sampling.ts';
import { checkSizes, reads, writes } from './exact.ts';
import { STATE, STATE_BYTES } from './state.ts';

const WORKGROUP = 256;

/** What the step that chooses a token reads and writes. */
export interface ChooseTokenArguments {
  /** rows x vocabulary. */
  readonly logits: BufferView;
  /** The row to choose from; the others are not read. */
  readonly row: number;
  readonly vocabulary: number;
  readonly state: BufferView;
  /** Receives the token in its first word: the next batch's `ids`. */
  readonly ids: BufferView;
  /** Receives the token at the state's count; nothing once it is full. */
  readonly chosen: BufferView;
  /** Words of `chosen`. */
  readonly capacity: number;
  /** Tokens of this batch: how far the state's position moves on. */
  readonly tokens: number;
  readonly sampling: Sampling;
}

/**
 * Chooses a token by the definition of `chooseToken`, with `randomUniform(seed, position)` for the position at which the
 * token will stand; then moves the state on. Greedy choices and top-k are exact. Probabilities are f32 exponentials
 * rounded to 2^-31 of the largest: within about 10^-5 of a boundary, top-p and the draw may pick the neighbour that f64
 * would not. A NaN or infinite logit gives token 0 and is noted in the state: see `throwIfChoiceFailed`.
 */
export function chooseTokenStep(args: ChooseTokenArguments): Step {
  const { logits, row, vocabulary, state, ids, chosen, capacity, tokens, sampling } = args;
  const label = 'choose-token';
  checkSizes(label, { rows: row + 1, vocabulary });
  checkSizes(label, { capacity });
  checkSizes(label, { tokens });
  checkSampling(sampling);
  const { temperature, topK, topP } = sampling;
  const greedy = temperature === 0;
  return {
    label,
    kernel: { source, constants: { WORKGROUP } },
    bindings: [
      reads(label, 'logits', logits, (row + 1) * vocabulary),
      writes(label, 'state', state, STATE_BYTES / 4),
      writes(label, 'ids', ids, 1),
      writes(label, 'chosen', chosen, capacity),
    ],
    params: packParams(
      row * vocabulary,
      vocabulary,
      tokens,
      capacity,
      greedy ? 1 : 0,
      // Bounded, so that no product with it becomes 0 · infinity.
      { f32: greedy ? 0 : Math.min(1 / temperature, 1e38) },
      topK < vocabulary ? topK : 0,
      topP === 1 ? 0 : Math.min(Math.max(Math.round(topP * 2 ** 32), 1), 2 ** 32 - 1),
    ),
    grid: [1, 1, 1],
    bytes: 4 * vocabulary,
  };
}

/** @throws NonFiniteError when a token was chosen from logits that held NaN or infinity. `state` is the state read back. */
export function throwIfChoiceFailed(state: Uint32Array): void {
  const failed = state[STATE.failed];
  if (!failed) return;
  throw new NonFiniteError(
    `The logit of token ${failed - 1} is NaN or infinite; no token can be chosen. The weights may hold NaN, or the format ` +
      `that they are compressed to is too coarse for them. "compressa inspect <model> --histogram '*'" counts what is not finite in each tensor, ` +
      'and "compressa verify" compares the model with the original.',
  );
}
