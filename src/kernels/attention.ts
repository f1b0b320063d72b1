import appendSource from '../../shaders/layers/append.wgsl';
import source from '../../shaders/layers/attention.wgsl';
import threadSource from '../../shaders/layers/attention_thread.wgsl';
import { ArgumentError } from '../errors.ts';
import { type BufferView, packParams, type Step } from '../gpu/kernel.ts';
import { each } from './each.ts';
import { checkSizes, reads, readsState, writes } from './exact.ts';
import { checkSoftCap } from './soft-cap.ts';

/** Threads, positions of a tile, and a quarter of the largest head. */
const WORKGROUP = 64;
export const MAX_HEAD_DIM = 4 * WORKGROUP;

export interface AppendArguments {
  /** tokens x width, rotated already. */
  readonly k: BufferView;
  readonly v: BufferView;
  readonly state: BufferView;
  /** maxPositions x width. */
  readonly kCache: BufferView;
  readonly vCache: BufferView;
  readonly tokens: number;
  /** kvHeads * headDim. */
  readonly width: number;
  readonly maxPositions: number;
}

/** Writes the batch's keys and values into the caches at the state's position. What does not fit is dropped. */
export function appendStep({ k, v, state, kCache, vCache, tokens, width, maxPositions }: AppendArguments): Step {
  const label = 'append';
  checkSizes(label, { tokens, width });
  checkSizes(label, { maxPositions, width });
  const count = tokens * width;
  return {
    label,
    ...each(count, { source: appendSource }),
    bindings: [
      reads(label, 'k', k, count),
      reads(label, 'v', v, count),
      readsState(label, state),
      writes(label, 'kCache', kCache, maxPositions * width),
      writes(label, 'vCache', vCache, maxPositions * width),
    ],
    params: packParams(tokens, width, maxPositions),
    bytes: 16 * count,
  };
}

export interface AttentionArguments {
  readonly q: BufferView;
  /** Caches that hold the batch's own keys and values too: `appendStep` comes first. */
  readonly kCache: BufferView;
  readonly vCache: BufferView;
  readonly state: BufferView;
  readonly out: BufferView;
  readonly tokens: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly maxPositions: number;
  /** Factor on q·k. */
  readonly scale: number;
  /** Positions that a token sees, its own included. Default: all. */
  readonly window?: number;
  /** Scores s become softCap * tanh(s / softCap). */
  readonly softCap?: number;
  /** Default `workgroup`; `thread` needs a headDim that `fitsThreadAttention`. */
  readonly variant?: AttentionVariant;
}

/** A workgroup for each token and head, or a thread. */
export type AttentionVariant = 'workgroup' | 'thread';

/** The thread variant keeps a head's sums for each thread in workgroup memory: 16 KiB with the largest. */
const MAX_THREAD_HEAD_DIM = 128;
const THREADS = 32;

export function fitsThreadAttention(headDim: number): boolean {
  return headDim % 4 === 0 && headDim <= MAX_THREAD_HEAD_DIM;
}

/** Causal attention with grouped queries over everything cached up to each token, or the last `window` positions of it. */
export function attentionStep(args: AttentionArguments): Step {
  const { q, kCache, vCache, state, out, tokens, heads, kvHeads, headDim, maxPositions, scale, window, softCap } = args;
  const label = 'attention';
  checkSizes(label, { tokens, heads, headDim });
  checkSizes(label, { maxPositions, kvHeads, headDim });
  if (headDim > MAX_HEAD_DIM) throw new ArgumentError(`${label}: headDim is ${headDim}; at most ${MAX_HEAD_DIM}.`);
  if (heads % kvHeads !== 0) throw new ArgumentError(`${label}: ${kvHeads} key heads do not divide ${heads} heads.`);
  if (tokens > 65535 || heads > 65535)
    throw new ArgumentError(`${label}: ${tokens} tokens x ${heads} heads; at most 65535 each.`);
  if (!Number.isFinite(scale)) throw new ArgumentError(`${label}: the scale is ${scale}.`);
  if (window !== undefined) checkSizes(label, { window });
  if (softCap !== undefined) checkSoftCap(label, softCap);
  if (args.variant === 'thread' && !fitsThreadAttention(headDim)) {
    throw new ArgumentError(
      `${label}: the thread variant takes multiples of 4 up to ${MAX_THREAD_HEAD_DIM}, not a headDim of ${headDim}.`,
    );
  }
  const byThread = args.variant === 'thread';
  const width = heads * headDim;
  const cached = maxPositions * kvHeads * headDim;
  return {
    label,
    kernel: byThread ? { source: threadSource } : { source, constants: { WORKGROUP } },
    bindings: [
      reads(label, 'q', q, tokens * width),
      reads(label, 'kCache', kCache, cached),
      reads(label, 'vCache', vCache, cached),
      readsState(label, state),
      writes(label, 'out', out, tokens * width),
    ],
    params: packParams(tokens, heads, kvHeads, headDim, maxPositions, { f32: scale }, window ?? 0, {
      f32: softCap ?? 0,
    }),
    grid: [heads, byThread ? Math.ceil(tokens / THREADS) : tokens, 1],
  };
}
