import * as v from 'valibot';
import type { Rotary } from '../graph/graph.ts';
import { between, theta, whole } from './config-fields.ts';

// Far above any published context.
const MAX_POSITIONS = 2 ** 28;

const factor = v.nullish(between(0, 2 ** 20));
const kind = v.nullish(
  v.picklist(
    ['default', 'linear', 'dynamic', 'llama3', 'yarn'],
    'is a position scaling that is not supported; those are default, linear, dynamic, llama3 and yarn',
  ),
);

/**
 * How a config scales positions. "rope_scaling" until Transformers 4, "rope_parameters" since 5; "type" is the oldest
 * spelling of "rope_type".
 */
export const ropeSchema = v.object(
  {
    rope_type: kind,
    type: kind,
    rope_theta: v.nullish(theta),
    factor,
    original_max_position_embeddings: v.nullish(whole(MAX_POSITIONS)),
    low_freq_factor: factor,
    high_freq_factor: factor,
    beta_fast: factor,
    beta_slow: factor,
    mscale: v.nullish(v.number('must be a number')),
    mscale_all_dim: v.nullish(v.number('must be a number')),
    attention_factor: factor,
    truncate: v.nullish(v.boolean('must be true or false'), true),
    partial_rotary_factor: v.nullish(
      v.literal(1, 'must be 1: rotary embedding of only a part of each head is not supported'),
    ),
  },
  'must be an object or null',
);
export type RopeScaling = v.InferOutput<typeof ropeSchema>;

/** Fields of every family's config about rotary embedding. */
export const ropeEntries = {
  rope_theta: v.nullish(theta),
  rope_scaling: v.nullish(ropeSchema),
  rope_parameters: v.nullish(ropeSchema),
  partial_rotary_factor: v.nullish(
    v.literal(1, 'must be 1: rotary embedding of only a part of each head is not supported'),
  ),
};

export interface RopeOptions {
  readonly headDim: number;
  /** Of the wavelengths: pair i of d/2 is rotated by theta^(−2i/d) a position before any scaling. */
  readonly theta: number;
  /** What the model was made for, scaling included. */
  readonly maxPositions: number;
  readonly scaling?: RopeScaling | null | undefined;
  /** Called with what is wrong with the scaling. */
  readonly fail: (problem: string) => never;
}

export interface Rope {
  readonly rotary: Rotary;
  /** Factor on queries and on keys, so its square belongs to the attention's scale. */
  readonly attentionFactor: number;
}

/** Folds a config's scaling of positions into inverse frequencies and a factor. */
export function ropeOf({ headDim, theta: base, maxPositions, scaling, fail }: RopeOptions): Rope {
  const plain = Array.from({ length: headDim / 2 }, (_, i) => base ** ((-2 * i) / headDim));
  const given = <T>(value: T | null | undefined, name: string): T =>
    value ?? fail(`"${typeOf(scaling)}" scaling of positions needs ${name}`);
  const scaled = (): { frequencies: number[]; attentionFactor?: number } => {
    switch (typeOf(scaling)) {
      case 'default':
      // Lengthens wavelengths only beyond max_position_embeddings, where nothing runs here.
      case 'dynamic':
        return { frequencies: plain };
      case 'linear': {
        const by = given(scaling?.factor, 'a factor');
        return { frequencies: plain.map((frequency) => frequency / by) };
      }
      case 'llama3': {
        const low = given(scaling?.low_freq_factor, 'low_freq_factor');
        const high = given(scaling?.high_freq_factor, 'high_freq_factor');
        if (low >= high) fail(`low_freq_factor ${low} is not below high_freq_factor ${high}`);
        const original = given(scaling?.original_max_position_embeddings, 'original_max_position_embeddings');
        const by = given(scaling?.factor, 'a factor');
        return { frequencies: plain.map((frequency) => llama3Frequency(frequency, by, low, high, original)) };
      }
      case 'yarn': {
        const original = scaling?.original_max_position_embeddings ?? maxPositions;
        const by = scaling?.factor ?? maxPositions / original;
        const fast = correctionPair(scaling?.beta_fast ?? 32, headDim, base, original);
        const slow = correctionPair(scaling?.beta_slow ?? 1, headDim, base, original);
        return {
          frequencies: yarnFrequencies(plain, by, fast, slow, scaling?.truncate ?? true),
          attentionFactor:
            scaling?.attention_factor ?? yarnAttentionFactor(by, scaling?.mscale, scaling?.mscale_all_dim),
        };
      }
    }
  };
  const { frequencies, attentionFactor = 1 } = scaled();
  if (!frequencies.every((frequency) => Number.isFinite(frequency) && frequency >= 0)) {
    fail(`theta ${base} and the scaling of positions make no finite frequencies`);
  }
  return { rotary: { style: 'half', headDim, inverseFrequencies: frequencies }, attentionFactor };
}

const typeOf = (scaling: RopeScaling | null | undefined) => scaling?.rope_type ?? scaling?.type ?? 'default';

/**
 * Short waves stay, those beyond the original context are lengthened, between them it goes over smoothly.
 * Source: Llama 3.1's reference implementation, Meta, 2024.
 */
function llama3Frequency(frequency: number, factor: number, low: number, high: number, original: number): number {
  // How often the wave turns within the original context.
  const turns = (original * frequency) / (2 * Math.PI);
  const kept = Math.min(1, Math.max(0, (turns - low) / (high - low)));
  return kept * frequency + ((1 - kept) * frequency) / factor;
}

/** The pair, as a fraction, that turns `rotations` times within the original context. Source: as `yarnFrequencies`. */
function correctionPair(rotations: number, headDim: number, base: number, original: number): number {
  return (headDim * Math.log(original / (rotations * 2 * Math.PI))) / (2 * Math.log(base));
}

/**
 * Pairs up to `fast` stay, those from `slow` on are divided by the factor, with a ramp between.
 * Source: Peng et al., "YaRN", 2023, section 3.2; bounds are whole unless `truncate` is off.
 */
function yarnFrequencies(
  plain: readonly number[],
  factor: number,
  fast: number,
  slow: number,
  truncate: boolean,
): number[] {
  const low = Math.max(0, truncate ? Math.floor(fast) : fast);
  const high = Math.min(2 * plain.length - 1, truncate ? Math.ceil(slow) : slow);
  // Where both fall together the ramp is a step.
  const width = high === low ? 0.001 : high - low;
  return plain.map((frequency, i) => {
    const scaled = Math.min(1, Math.max(0, (i - low) / width));
    return (1 - scaled) * frequency + (scaled * frequency) / factor;
  });
}

/** √(1/t) of YaRN's section 3.3; `mscale` and `mscaleAllDim` together are DeepSeek's way of choosing it. */
function yarnAttentionFactor(
  factor: number,
  mscale: number | null | undefined,
  mscaleAllDim: number | null | undefined,
): number {
  const of = (m: number) => (factor <= 1 ? 1 : 0.1 * m * Math.log(factor) + 1);
  return mscale && mscaleAllDim ? of(mscale) / of(mscaleAllDim) : of(1);
}
