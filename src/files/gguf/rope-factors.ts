/** How Llama 3.1 stretches its rotary positions, as its config.json says. */
export interface Llama3Scaling {
  readonly factor: number;
  readonly low_freq_factor: number;
  readonly high_freq_factor: number;
  readonly original_max_position_embeddings: number;
}

/**
 * What each rotary frequency is divided by: 1 for short waves, `factor` for long ones, and a blend between (Transformers,
 * `_compute_llama3_parameters`; llama.cpp stores the result as `rope_freqs.weight`).
 * @returns `headDim / 2` numbers
 */
export function llama3Factors(scaling: Llama3Scaling, headDim: number, theta: number): Float32Array<ArrayBuffer> {
  const { factor, low_freq_factor: low, high_freq_factor: high, original_max_position_embeddings: length } = scaling;
  return Float32Array.from({ length: headDim / 2 }, (_, i) => {
    const wave = 2 * Math.PI * theta ** ((2 * i) / headDim);
    if (wave < length / high) return 1;
    if (wave > length / low) return factor;
    const blend = (length / wave - low) / (high - low);
    return 1 / ((1 - blend) / factor + blend);
  });
}

/** Values with which every published model of the kind was made. */
const PUBLISHED = { low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 };

/** f32 powers of other libraries differ in their last bits. */
const TOLERANCE = 1e-4;

/** The scaling that gives these factors; undefined where there is none, or they do not tell. */
export function llama3Scaling(factors: readonly number[], headDim: number, theta: number): Llama3Scaling | undefined {
  const factor = factors.at(-1) ?? 1;
  return [{ factor, ...PUBLISHED }, solve(factors, headDim, theta)].find((scaling) => {
    const expected = scaling && llama3Factors(scaling, headDim, theta);
    return (
      factors.length === expected?.length &&
      factors.every((x, i) => Math.abs(x - expected[i]!) <= TOLERANCE * Math.abs(expected[i]!))
    );
  });
}

/**
 * The blend of frequency i is a line in 1 / wave: length / (high - low) · 1 / wave - low / (high - low). Two blended factors give it.
 * Length, low and high times any number give the same factors, so low is 1.
 */
function solve(factors: readonly number[], headDim: number, theta: number): Llama3Scaling | undefined {
  const factor = factors.at(-1) ?? 1;
  const points = factors.flatMap((x, i) => {
    if (!(x > 1 && x < factor)) return [];
    return [{ x: theta ** ((-2 * i) / headDim) / (2 * Math.PI), y: (1 / x - 1 / factor) / (1 - 1 / factor) }];
  });
  const [first, last] = [points[0], points.at(-1)];
  if (!first || !last || first === last) return undefined;
  const slope = (first.y - last.y) / (first.x - last.x);
  const width = -1 / (first.y - slope * first.x);
  const length = Math.round(slope * width);
  const high = Number((1 + width).toPrecision(5));
  if (!(high > 1 && length >= 1)) return undefined;
  return { factor, low_freq_factor: 1, high_freq_factor: high, original_max_position_embeddings: length };
}
