import { ArgumentError } from '../../errors.ts';
import type { Graph, ValueName, WeightName } from '../../graph/graph.ts';
import { findScaleFoldings, foldScales, type ScaleFolding } from '../../graph/scale-folding.ts';

/** How SmoothQuant shares the range between activations and weights. */
export interface SmoothOptions {
  /** From 0, which leaves the range with the activations, to 1, which moves all of it into the weights. Default 0.5. */
  readonly alpha?: number;
}

/** Factors are kept within this and its inverse: a channel that is hardly ever active would get one without bounds. */
const LARGEST_FACTOR = 1e5;

/**
 * The factor of each channel of a folding: s = max|x|^α / max|w|^(1−α), over the tokens of a calibration and over all rows of the matrices that read the
 * channel; where several channels share a factor, over all of them. 1 for channels that were never active or have no weights.
 * Source: Xiao et al., "SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language Models", 2022, equation 4.
 * @param absMax largest |x| of each channel of the input, f32 [k]
 * @param columnMax largest |w| of each column over all matrices that read it, f32 [k]
 * @throws ArgumentError for an α outside 0 to 1 and for maxima that are not finite or of another size
 */
export function smoothingFactors(
  { input, channels, channelOf }: ScaleFolding,
  absMax: Float32Array,
  columnMax: Float32Array,
  { alpha = 0.5 }: SmoothOptions = {},
): Float32Array {
  if (!(alpha >= 0 && alpha <= 1)) throw new ArgumentError(`SmoothQuant: alpha is ${alpha}; give one from 0 to 1.`);
  for (const [what, maxima] of Object.entries({ activations: absMax, weights: columnMax })) {
    if (maxima.length !== channelOf.length) {
      throw new ArgumentError(
        `SmoothQuant: ${maxima.length} maxima of ${what} for ${input}, which has ${channelOf.length} channels.`,
      );
    }
    const bad = maxima.findIndex((x) => !(x >= 0 && x < Number.POSITIVE_INFINITY));
    if (bad >= 0) {
      throw new ArgumentError(
        `SmoothQuant: the largest of the ${what} in channel ${bad} of ${input} is ${maxima[bad]}.`,
      );
    }
  }
  const [x, w] = [new Float32Array(channels), new Float32Array(channels)];
  for (const [i, channel] of channelOf.entries()) {
    x[channel] = Math.max(x[channel]!, absMax[i]!);
    w[channel] = Math.max(w[channel]!, columnMax[i]!);
  }
  return x.map((most, channel) => {
    const least = w[channel]!;
    if (most === 0 || least === 0) return 1;
    return Math.min(Math.max(most ** alpha / least ** (1 - alpha), 1 / LARGEST_FACTOR), LARGEST_FACTOR);
  });
}

/** Largest |w| of each of `k` columns, over all rows of all `matrices`. */
export function columnMaxima(matrices: readonly Float32Array[], k: number): Float32Array {
  const most = new Float32Array(k);
  for (const matrix of matrices) {
    for (let i = 0; i < matrix.length; i++) most[i % k] = Math.max(most[i % k]!, Math.abs(matrix[i]!));
  }
  return most;
}

/**
 * SmoothQuant over a whole model: makes activations easier to quantize and weights a little harder, by factors that are folded into what comes before
 * (`findScaleFoldings`); the model computes the same. Inputs that `absMax` does not know are left as they are.
 * @param absMax largest |x| of each channel of an input, as a calibration found it
 * @param weights f32 numbers of a weight, row-major
 * @returns the weights that changed
 * @throws ArgumentError as `smoothingFactors`
 */
export function smooth(
  graph: Graph,
  weights: (name: WeightName) => Float32Array,
  absMax: (input: ValueName) => Float32Array | undefined,
  options: SmoothOptions = {},
): Map<WeightName, Float32Array> {
  const changed = new Map<WeightName, Float32Array>();
  const now = (name: WeightName) => changed.get(name) ?? weights(name);
  // From the end: rows that one folding divides are in the columns that another, before it, measures.
  for (const folding of findScaleFoldings(graph).reverse()) {
    const maxima = absMax(folding.input);
    if (!maxima) continue;
    const columns = columnMaxima(folding.matrices.map(now), folding.channelOf.length);
    const factors = smoothingFactors(folding, maxima, columns, options);
    for (const [name, values] of foldScales(folding, factors, now)) changed.set(name, values);
  }
  return changed;
}
