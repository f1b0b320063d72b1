import type { Format } from '../formats/format.ts';
import type { CacheType } from '../kernels/cache.ts';
import type { LinearShape } from '../kernels/linear-variants.ts';
import type { Weight } from '../kernels/weight.ts';
import type { Graph } from './graph.ts';

/** A product with a weight in one format. */
export interface LinearNeed extends LinearShape {
  readonly kind: 'linear';
  readonly format: Format;
}

/** Attention of one layer: of `tokens`, over caches of `positions`. */
export interface AttentionNeed {
  readonly kind: 'attention';
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly tokens: number;
  readonly positions: number;
  /** How the caches keep keys and values. */
  readonly cache: CacheType;
}

/** Something that can be computed in several ways. */
export type Need = LinearNeed | AttentionNeed;

/** Who knows the best way on this device: `Tuner`. What it does not know gets the variant that serves where nothing was timed. */
export interface VariantChoice {
  /** Finds out as much as it may: where that takes long, less. @throws CancelledError, DeviceLostError */
  prepare(needs: readonly Need[]): Promise<void>;
  /** The name of the variant, of `linearVariants` or those of packed, block-sparse and integer products; undefined where none was found. */
  linear(need: LinearNeed): string | undefined;
  /** The name of the variant, of `attentionVariants`; undefined where none was found. */
  attention(need: AttentionNeed): string | undefined;
}

/** Whether all variants give the same bits: sums of integers do. */
const isExact = (need: Need): boolean => need.kind === 'linear' && need.format.activations !== undefined;

/** Of a choice, what gives the same bits as the variants that serve without one: for passes whose result is a file. */
export const exactOnly = (choice: VariantChoice): VariantChoice => ({
  prepare: (needs) => choice.prepare(needs.filter(isExact)),
  linear: (need) => (isExact(need) ? choice.linear(need) : undefined),
  attention: () => undefined,
});

/** What the operations of a graph need for a batch of tokens, each launched by itself. */
export function needsOf(
  graph: Graph,
  weights: ReadonlyMap<string, Weight>,
  { tokens, positions, cache }: { tokens: number; positions: number; cache: CacheType },
): Need[] {
  return graph.operations.flatMap((operation): Need[] => {
    if (operation.op === 'attention') {
      const { heads, kvHeads, headDim } = operation;
      return [{ kind: 'attention', heads, kvHeads, headDim, tokens, positions, cache }];
    }
    const weight = operation.op === 'linear' ? weights.get(operation.weight) : undefined;
    if (!weight) return [];
    const { format, rows, k } = weight;
    return [{ kind: 'linear', format, rows, k, tokens }];
  });
}
