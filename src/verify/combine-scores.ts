import type { SliceOfModel, SliceScore } from './compare-logits.ts';

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

/**
 * One slice of two neighbouring ones, in any order: sums move over to the larger of both maxima, as in the online softmax.
 * Source: Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018.
 */
export function joinSlices(a: SliceScore, b: SliceScore): SliceScore {
  const original = joinModel(a.original, b.original);
  const compressed = joinModel(a.compressed, b.compressed);
  /** The cross sum of a slice, with the common maxima in place of its own. */
  const moved = (slice: SliceScore): number => {
    if (slice.original.first < 0 || slice.compressed.first < 0) return 0;
    const shift = slice.original.largest - original.largest - (slice.compressed.largest - compressed.largest);
    const factor = Math.exp(slice.original.largest - original.largest);
    return factor === 0 ? 0 : factor * (slice.cross + shift * slice.original.mass);
  };
  return { original, compressed, cross: moved(a) + moved(b) };
}

function joinModel(a: SliceOfModel, b: SliceOfModel): SliceOfModel {
  const nonFinite = a.nonFinite + b.nonFinite;
  const target = a.target ?? b.target;
  if (a.first < 0 || b.first < 0) return { ...(a.first < 0 ? b : a), target, nonFinite };
  const [top, other] = a.largest > b.largest || (a.largest === b.largest && a.first < b.first) ? [a, b] : [b, a];
  return { ...top, mass: top.mass + other.mass * Math.exp(other.largest - top.largest), target, nonFinite };
}

/** The score of a token, from the slice that is the whole vocabulary. */
export function scoreOf({ original, compressed, cross }: SliceScore): TokenScore {
  const loss = ({ largest, mass, target }: SliceOfModel) => largest - (target ?? Number.NaN) + Math.log(mass);
  return {
    original: loss(original),
    compressed: loss(compressed),
    kl: cross / original.mass - Math.log(original.mass) + Math.log(compressed.mass),
    agree: original.first === compressed.first,
    nonFinite: [original.nonFinite, compressed.nonFinite],
  };
}
