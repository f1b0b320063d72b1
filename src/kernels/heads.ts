import source from '../../shaders/layers/rotate_append.wgsl';
import { ArgumentError } from '../errors.ts';
import { type Binding, type BufferView, packParams, type Step } from '../gpu/kernel.ts';
import type { AttentionSettings } from './attention.ts';
import type { AttentionShape } from './attention-variants.ts';
import { type Cache, cacheBindings, cachePositionBytes, cacheShader } from './cache.ts';
import { each } from './each.ts';
import { checkSizes, reads, readsState, writes } from './exact.ts';

/** Heads as products leave them, and what is done to them before attention. */
export interface Heads {
  /** f32 [tokens, (heads + 2 · kvHeads) · headDim]: queries, keys, values. */
  readonly heads: BufferView;
  /** What `rotaryFrequencies` gives. Default: queries and keys are not rotated. */
  readonly frequencies?: BufferView;
  /** Queries and keys are normalized, each head by itself, before they are rotated: f32 [headDim] each. */
  readonly norms?: {
    readonly query: BufferView;
    readonly key: BufferView;
    readonly epsilon: number;
    /** Added to the weights; default 0. */
    readonly offset?: number;
  };
}

/** @throws ArgumentError for heads that can't be rotated or normalized so */
export function checkHeads(label: string, { frequencies, norms }: Heads, { headDim }: AttentionShape): void {
  if (frequencies && headDim % 2 !== 0)
    throw new ArgumentError(`${label}: headDim is ${headDim}; rotary embedding needs an even one.`);
  if (!norms) return;
  const { epsilon, offset = 0 } = norms;
  if (!(epsilon > 0 && epsilon <= 1)) throw new ArgumentError(`${label}: epsilon is ${epsilon}; give one in (0, 1].`);
  if (!Number.isFinite(offset)) throw new ArgumentError(`${label}: the offset is ${offset}.`);
}

/** Overrides of shaders/layers/heads.wgsl. */
export const headConstants = ({ frequencies, norms }: Heads): Record<string, number> => ({
  ROTARY: Number(frequencies !== undefined),
  NORMED: Number(norms !== undefined),
});

/** Its bindings. `whole`: the heads are queries, keys and values, not queries alone. */
export function headBindings(
  label: string,
  { heads: given, frequencies, norms }: Heads,
  state: BufferView,
  { tokens, heads, kvHeads, headDim }: AttentionShape,
  whole: boolean,
  out: Binding,
): Binding[] {
  const held = readsState(label, state);
  return [
    reads(label, 'heads', given, tokens * (whole ? heads + 2 * kvHeads : heads) * headDim),
    held,
    frequencies ? reads(label, 'frequencies', frequencies, headDim) : held,
    norms ? reads(label, 'query norm', norms.query, headDim) : held,
    norms ? reads(label, 'key norm', norms.key, headDim) : held,
    out,
  ];
}

/** Its parameters. */
export function headParams(
  { norms }: Heads,
  { tokens, heads, kvHeads, headDim, maxPositions }: AttentionShape,
  { scale, window, softCap }: AttentionSettings,
  splits: number,
): ArrayBuffer {
  return packParams(
    ...[tokens, heads, kvHeads, headDim, maxPositions],
    ...[{ f32: norms?.epsilon ?? 1 }, { f32: norms?.offset ?? 0 }],
    ...[{ f32: scale }, window ?? 0, { f32: softCap ?? 0 }, splits],
  );
}

export interface RotateAppendArguments {
  readonly rotated: Heads;
  readonly state: BufferView;
  readonly cache: Cache;
  /** Receives the queries: f32 [tokens, heads · headDim]. */
  readonly q: BufferView;
  readonly tokens: number;
  readonly heads: number;
}

/**
 * Normalizes and rotates heads; queries go to `q`, keys and values into the caches at the state's position. What does not fit is dropped.
 * @throws ArgumentError for sizes and buffers that do not fit
 */
export function rotateAppendStep({ rotated, state, cache, q, tokens, heads }: RotateAppendArguments): Step {
  const label = 'rotate and append';
  const { kvHeads, headDim, maxPositions } = cache;
  const all = heads + 2 * kvHeads;
  checkSizes(label, { tokens, all, headDim });
  checkSizes(label, { maxPositions, kvHeads, headDim });
  const shape = { tokens, heads, kvHeads, headDim, maxPositions };
  checkHeads(label, rotated, shape);
  return {
    label,
    ...each(tokens * all * Math.ceil(headDim / 32), {
      source,
      format: cacheShader(cache),
      constants: headConstants(rotated),
    }),
    bindings: headBindings(label, rotated, state, shape, true, writes(label, 'q', q, tokens * heads * headDim)),
    weight: cacheBindings(label, cache),
    params: headParams(rotated, shape, { scale: 1 }, 1),
    bytes: 4 * tokens * (all + heads) * headDim + 2 * tokens * cachePositionBytes(cache),
  };
}
