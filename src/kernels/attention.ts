import appendSource from '../../shaders/layers/append.wgsl';
import combineSource from '../../shaders/layers/attention_combine.wgsl';
import { ArgumentError } from '../errors.ts';
import { type Binding, type BufferView, packParams, type Step } from '../gpu/kernel.ts';
import {
  type AttentionShape,
  type AttentionVariant,
  findAttentionVariant,
  MAX_HEAD_DIM,
} from './attention-variants.ts';
import { type Cache, cacheBindings, cachePositionBytes, cacheShader } from './cache.ts';
import { each } from './each.ts';
import { checkSizes, reads, readsState, writes } from './exact.ts';
import { checkHeads, type Heads, headBindings, headConstants, headParams } from './heads.ts';
import { checkSoftCap } from './soft-cap.ts';

export interface AppendArguments {
  /** f32 [tokens, kvHeads · headDim], rotated already. */
  readonly k: BufferView;
  readonly v: BufferView;
  readonly state: BufferView;
  readonly cache: Cache;
  readonly tokens: number;
}

/** Writes the batch's keys and values into the caches, in their type, at the state's position. What does not fit is dropped. */
export function appendStep({ k, v, state, cache, tokens }: AppendArguments): Step {
  const label = 'append';
  const { kvHeads, headDim, maxPositions } = cache;
  checkSizes(label, { tokens, kvHeads, headDim });
  checkSizes(label, { maxPositions, kvHeads, headDim });
  const count = tokens * kvHeads * headDim;
  return {
    label,
    ...each(tokens * kvHeads * Math.ceil(headDim / 32), { source: appendSource, format: cacheShader(cache) }),
    bindings: [reads(label, 'k', k, count), reads(label, 'v', v, count), readsState(label, state)],
    weight: cacheBindings(label, cache),
    params: packParams(tokens, kvHeads, headDim, maxPositions),
    bytes: 8 * count + 2 * tokens * cachePositionBytes(cache),
  };
}

/** What attention computes. */
export interface AttentionSettings {
  /** Factor on q·k. */
  readonly scale: number;
  /** Positions that a token sees, its own included. Default: all. */
  readonly window?: number;
  /** Scores s become softCap * tanh(s / softCap). */
  readonly softCap?: number;
}

export interface AttentionArguments extends AttentionSettings {
  /** f32 [tokens, heads · headDim] */
  readonly q: BufferView;
  /** Holds the batch's own keys and values too: `appendStep` comes first. */
  readonly cache: Cache;
  readonly state: BufferView;
  /** f32 [tokens, heads · headDim] */
  readonly out: BufferView;
  readonly tokens: number;
  readonly heads: number;
  /** The name of one of `attentionVariants` that the device can. Default: `split-1-8`, which all can. */
  readonly variant?: string;
  /** Of `attentionRoomBytes`, where that is not 0. */
  readonly room?: BufferView;
}

/** Bytes that a variant needs beside its output. */
export function attentionRoomBytes(variant: string, { tokens, heads, headDim }: AttentionShape): number {
  const { splits } = findAttentionVariant(variant);
  return splits === 1 ? 0 : 4 * tokens * heads * splits * (headDim + 2);
}

/**
 * Causal attention with grouped queries over everything cached up to each token, or the last `window` positions of it.
 * @throws ArgumentError for sizes, buffers and variants that do not fit
 */
export function attentionSteps(args: AttentionArguments): Step[] {
  const { q, cache, state, tokens, heads } = args;
  const label = 'attention';
  const variant = findAttentionVariant(args.variant ?? 'split-1-8');
  const shape = checkAttention(label, args);
  const given = reads(label, 'q', q, tokens * heads * cache.headDim);
  if (variant.splits === 1 && !variant.fuses) {
    const { kvHeads, headDim, maxPositions } = cache;
    const { scale, window, softCap } = args;
    const bindings = [given, readsState(label, state), writes(label, 'out', args.out, tokens * heads * headDim)];
    const params = packParams(
      ...[tokens, heads, kvHeads, headDim, maxPositions],
      ...[{ f32: scale }, window ?? 0, { f32: softCap ?? 0 }],
    );
    return [stepOf(label, variant, shape, cache, bindings, params, {})];
  }
  return splitSteps(label, variant, shape, { ...args, rotated: { heads: q } }, {});
}

/** Heads of one token that attention rotates and appends by itself. */
export interface FusedAttentionArguments extends AttentionSettings {
  readonly rotated: Heads;
  readonly cache: Cache;
  readonly state: BufferView;
  readonly out: BufferView;
  readonly heads: number;
  readonly variant: string;
  readonly room?: BufferView;
}

/** Whether a variant takes a token's heads as the products leave them. */
export const fusesHeads = (variant: string, { tokens, heads, kvHeads }: AttentionShape): boolean =>
  tokens === 1 && heads / kvHeads <= 8 && findAttentionVariant(variant).fuses;

/**
 * `rotateAppendStep` and `attentionSteps` of one token in one launch.
 * @throws ArgumentError for sizes, buffers and variants that do not fit
 */
export function fusedAttentionSteps(args: FusedAttentionArguments): Step[] {
  const label = 'attention';
  const all = { ...args, tokens: 1 };
  const shape = checkAttention(label, all);
  checkHeads(label, args.rotated, shape);
  if (!fusesHeads(args.variant, shape)) {
    throw new ArgumentError(`${label}: ${args.variant} does not rotate and append the heads of this shape.`);
  }
  const constants = { ...headConstants(args.rotated), FUSED: 1 };
  return splitSteps(label, findAttentionVariant(args.variant), shape, all, constants);
}

function checkAttention(
  label: string,
  {
    cache,
    tokens,
    heads,
    scale,
    window,
    softCap,
  }: Pick<AttentionArguments, 'cache' | 'tokens' | 'heads' | keyof AttentionSettings>,
): AttentionShape {
  const { kvHeads, headDim, maxPositions } = cache;
  checkSizes(label, { tokens, heads, headDim });
  checkSizes(label, { maxPositions, kvHeads, headDim });
  if (headDim > MAX_HEAD_DIM) throw new ArgumentError(`${label}: headDim is ${headDim}; at most ${MAX_HEAD_DIM}.`);
  if (heads % kvHeads !== 0) throw new ArgumentError(`${label}: ${kvHeads} key heads do not divide ${heads} heads.`);
  if (tokens > 65535 || heads > 65535)
    throw new ArgumentError(`${label}: ${tokens} tokens x ${heads} heads; at most 65535 each.`);
  if (!Number.isFinite(scale)) throw new ArgumentError(`${label}: the scale is ${scale}.`);
  if (window !== undefined) checkSizes(label, { window });
  if (softCap !== undefined) checkSoftCap(label, softCap);
  return { tokens, heads, kvHeads, headDim, maxPositions };
}

function splitSteps(
  label: string,
  variant: AttentionVariant,
  shape: AttentionShape,
  args: Pick<AttentionArguments, 'cache' | 'state' | 'out' | 'room' | keyof AttentionSettings> & {
    readonly rotated: Heads;
  },
  constants: Readonly<Record<string, number>>,
): Step[] {
  const { tokens, heads, headDim } = shape;
  const { splits } = variant;
  const rows = tokens * heads;
  const words = splits * (headDim + 2);
  const out = writes(label, 'out', args.out, rows * headDim);
  const room = splits === 1 ? undefined : args.room;
  if (splits > 1 && !room)
    throw new ArgumentError(`${label}: ${variant.name} needs room for ${4 * rows * words} bytes.`);
  const to = room ? writes(label, 'room', room, rows * words) : out;
  const bindings = headBindings(label, args.rotated, args.state, shape, constants.FUSED === 1, to);
  const step = stepOf(
    label,
    variant,
    shape,
    args.cache,
    bindings,
    headParams(args.rotated, shape, args, splits),
    constants,
  );
  if (!room) return [step];
  const combine: Step = {
    label: 'attention shares',
    ...each(rows * headDim, { source: combineSource }),
    bindings: [reads(label, 'room', room, rows * words), out],
    params: packParams(rows, headDim, splits),
    bytes: 4 * rows * (words + headDim),
  };
  return [step, combine];
}

function stepOf(
  label: string,
  variant: AttentionVariant,
  shape: AttentionShape,
  cache: Cache,
  bindings: readonly Binding[],
  params: ArrayBuffer,
  constants: Readonly<Record<string, number>>,
): Step {
  const kernel = variant.kernel(shape);
  return {
    label,
    kernel: { ...kernel, format: cacheShader(cache), constants: { ...kernel.constants, ...constants } },
    bindings,
    weight: cacheBindings(label, cache),
    params,
    grid: variant.grid(shape),
  };
}
