/** A named activation: one row of `width` f32 values for each token. */
export type ValueName = string;
/** A named weight of the checkpoint. */
export type WeightName = string;

/** How positions become angles: `half` rotates pairs (i, i + d/2), as Hugging Face checkpoints store them. */
export interface Rotary {
  readonly style: 'half';
  readonly headDim: number;
  /** Angle per position for each of the headDim / 2 pairs; families fold every kind of scaling into it. */
  readonly inverseFrequencies: readonly number[];
}

/** One operation. Every operation works on all tokens of a batch row by row, except attention. */
export type Operation =
  | {
      readonly op: 'embedding';
      readonly weight: WeightName;
      /** Factor on the rows; default 1. */
      readonly scale?: number;
      readonly out: ValueName;
    }
  | {
      readonly op: 'rms-norm';
      /** As wide as the weight, or a multiple: then each piece of the weight's width is normalized by itself, such as heads. */
      readonly x: ValueName;
      readonly weight: WeightName;
      /** Added to the weight; default 0. Some families store what a weight differs from 1 by. */
      readonly offset?: number;
      readonly epsilon: number;
      readonly out: ValueName;
    }
  | {
      readonly op: 'linear';
      readonly x: ValueName;
      readonly weight: WeightName;
      readonly bias?: WeightName;
      /** The result y becomes softCap · tanh(y / softCap). */
      readonly softCap?: number;
      readonly out: ValueName;
    }
  | { readonly op: 'rotary'; readonly x: ValueName; readonly rotary: Rotary; readonly out: ValueName }
  | {
      readonly op: 'attention';
      /** Index of the layer's key and value cache. */
      readonly cache: number;
      readonly q: ValueName;
      readonly k: ValueName;
      readonly v: ValueName;
      readonly heads: number;
      readonly kvHeads: number;
      readonly headDim: number;
      /** Factor on q·k, usually 1/√headDim. */
      readonly scale: number;
      /** A token at position p sees positions above p − window; default: all up to p. */
      readonly window?: number;
      /** A score s becomes softCap · tanh(s / softCap) before the softmax. */
      readonly softCap?: number;
      readonly out: ValueName;
    }
  | { readonly op: 'gelu-mul'; readonly gate: ValueName; readonly up: ValueName; readonly out: ValueName }
  | { readonly op: 'silu-mul'; readonly gate: ValueName; readonly up: ValueName; readonly out: ValueName }
  | {
      /** Each run of `block` numbers of a row times the orthonormal Hadamard matrix in Sylvester's order. */
      readonly op: 'hadamard';
      readonly x: ValueName;
      /** A power of two that divides the width. */
      readonly block: number;
      readonly out: ValueName;
    }
  | { readonly op: 'add'; readonly a: ValueName; readonly b: ValueName; readonly out: ValueName };

/** A weight that a graph reads. */
export interface GraphWeight {
  readonly name: WeightName;
  readonly shape: readonly number[];
  /** What the weight is for: rules and reports go by it. `linear` are the matrices that compression targets. */
  readonly role: 'embedding' | 'linear' | 'norm' | 'bias' | 'head';
  /** Index of the decoder layer it belongs to, if any. */
  readonly layer?: number;
}

/** A decoder as data: execution, calibration, the f64 reference and residency all read this one list. */
export interface Graph {
  readonly operations: readonly Operation[];
  readonly weights: readonly GraphWeight[];
  /** Width of every value. */
  readonly values: Readonly<Record<ValueName, number>>;
  /** The value that holds the logits. */
  readonly logits: ValueName;
  readonly layers: number;
  readonly vocabulary: number;
  readonly maxPositions: number;
  /** For each layer: first and one-past-last index into `operations`. */
  readonly layerRanges: readonly (readonly [number, number])[];
}
