import * as v from 'valibot';
import { MAX_NAME_LENGTH } from './safetensors-limits.ts';

/**
 * Limits of a weight tree (CWE-674, CWE-400). Depth: low-rank inside a sum inside a sparse weight is 4 already, twice
 * that leaves room. Terms and parts: a sum of a handful, a format of codes, scales, zeros and a few more.
 */
export const MAX_WEIGHT_DEPTH = 8;
export const MAX_SUM_TERMS = 16;
export const MAX_PARTS = 16;

/** How one matrix is stored; representations nest. `data`, `parts`, … name tensors of the same file. */
export type WeightNode =
  | { readonly kind: 'dense'; readonly data: string }
  | {
      readonly kind: 'quantized';
      /** A format's name in the registry. */
      readonly format: string;
      /** Weights that share a scale. */
      readonly group: number;
      readonly shape: readonly [number, number];
      /** The format's arrays: `codes`, `scales`, `zeros`, … */
      readonly parts: Readonly<Record<string, string>>;
    }
  | {
      readonly kind: 'nm';
      /** `n` of every `m` weights of a row are kept. */
      readonly n: number;
      readonly m: number;
      /** Rows that share their pattern. */
      readonly vector: number;
      readonly shape: readonly [number, number];
      /** Shape [rows, slots]: `n` for each group of `m` columns, and what fills up a block of their format. */
      readonly values: WeightNode;
      /** For each band of `vector` rows the places of its slots within their groups, 1, 2 or 4 bits each. */
      readonly indices: string;
    }
  | {
      readonly kind: 'block-sparse';
      /** Rows and columns of a block. */
      readonly block: readonly [number, number];
      readonly shape: readonly [number, number];
      /** Shape [kept, slots]. A row holds the rows of a block that is kept, one after another, and what fills up a block of their format. */
      readonly values: WeightNode;
      /** u32: the order in which rows of blocks are taken, for each the index of its first block and the count of all at the end, and the block column of each block. */
      readonly lists: string;
    }
  | { readonly kind: 'low-rank'; readonly rank: number; readonly left: WeightNode; readonly right: WeightNode }
  | { readonly kind: 'sum'; readonly terms: readonly WeightNode[] };

/** A file's weight tree: how each weight that Compressa changed is stored. */
export interface WeightTree {
  readonly version: 1;
  /** By the name that the weight had in the original checkpoint. */
  readonly weights: ReadonlyMap<string, WeightNode>;
  readonly graph?: GraphChanges;
}

/** What the family's config can't say of a model. */
export interface GraphChanges {
  /** The basis of the residual stream, where it is not the one that the model was trained in: which signs, and blocks of how many columns. */
  readonly rotation?: { readonly seed: number; readonly block: number } | undefined;
  /** The inner activations of each FFN go through a Hadamard transform of this block before the matrix that reads them. */
  readonly hadamard?: { readonly ffn: number } | undefined;
}

const positive = v.pipe(v.number(), v.safeInteger(), v.minValue(1));
const shape = v.strictTuple([positive, positive]);
const tensorName = v.pipe(v.string(), v.minLength(1), v.maxLength(MAX_NAME_LENGTH));
const word = v.pipe(v.string(), v.regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/));
const child = v.lazy((): v.GenericSchema<WeightNode> => WeightNodeSchema);

/** Schema of one node. Depth is bounded by the JSON parser before and by `checkNode` after. */
export const WeightNodeSchema: v.GenericSchema<WeightNode> = v.variant('kind', [
  v.strictObject({ kind: v.literal('dense'), data: tensorName }),
  v.strictObject({
    kind: v.literal('quantized'),
    format: word,
    group: positive,
    shape,
    parts: v.pipe(v.record(word, tensorName), v.minEntries(1), v.maxEntries(MAX_PARTS)),
  }),
  v.strictObject({
    kind: v.literal('nm'),
    n: positive,
    m: positive,
    vector: positive,
    shape,
    values: child,
    indices: tensorName,
  }),
  v.strictObject({
    kind: v.literal('block-sparse'),
    block: shape,
    shape,
    values: child,
    lists: tensorName,
  }),
  v.strictObject({ kind: v.literal('low-rank'), rank: positive, left: child, right: child }),
  v.strictObject({
    kind: v.literal('sum'),
    terms: v.pipe(v.array(child), v.minLength(1), v.maxLength(MAX_SUM_TERMS)),
  }),
]);

/** Powers of two up to what no hidden size reaches. */
const block = v.picklist(
  Array.from({ length: 20 }, (_, i) => 2 ** (i + 1)),
  'must be a power of two',
);

/** Schema of `graph`. */
export const GraphChangesSchema = v.strictObject({
  rotation: v.optional(
    v.strictObject({
      seed: v.pipe(v.number(), v.safeInteger(), v.minValue(0), v.maxValue(2 ** 32 - 1)),
      block,
    }),
  ),
  hadamard: v.optional(v.strictObject({ ffn: block })),
}) satisfies v.GenericSchema<unknown, GraphChanges>;

/** The whole of `__metadata__.compressa`, for the published JSON schema. */
export const WeightTreeSchema = v.strictObject({
  version: v.literal(1),
  weights: v.record(tensorName, WeightNodeSchema),
  graph: v.optional(GraphChangesSchema),
});
