import source from '../../shaders/layers/rotary.wgsl';
import { ArgumentError } from '../errors.ts';
import { type BufferView, packParams, type Step } from '../gpu/kernel.ts';
import { each } from './each.ts';
import { checkSizes, reads, readsState, writes } from './exact.ts';

/**
 * The frequency table of `rotaryStep`: inverse frequencies (radians per position) as turns per position modulo 1, in
 * 64-bit binary fractions, low word first. With f32 radians the angle at position 131,072 would be off by 0.01; with
 * these it is off by 2^-32 turns and what f64 left of the frequency (2^-36 turns at that position).
 */
export function rotaryFrequencies(inverseFrequencies: readonly number[]): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(2 * inverseFrequencies.length);
  for (const [i, frequency] of inverseFrequencies.entries()) {
    const turns = frequency / (2 * Math.PI);
    if (!Number.isFinite(turns)) throw new ArgumentError(`Inverse frequency ${i} is ${frequency}.`);
    const high = (turns - Math.floor(turns)) * 2 ** 32;
    words[2 * i + 1] = Math.floor(high);
    words[2 * i] = Math.floor((high - Math.floor(high)) * 2 ** 32);
  }
  return words;
}

export interface RotaryArguments {
  readonly x: BufferView;
  /** What `rotaryFrequencies` gives for the headDim / 2 pairs. */
  readonly frequencies: BufferView;
  readonly state: BufferView;
  readonly out: BufferView;
  readonly tokens: number;
  readonly heads: number;
  readonly headDim: number;
}

/** Rotary embedding, half style; token t stands at the state's position + t. */
export function rotaryStep({ x, frequencies, state, out, tokens, heads, headDim }: RotaryArguments): Step {
  const label = 'rotary';
  checkSizes(label, { tokens, heads, headDim });
  if (headDim % 2 !== 0) throw new ArgumentError(`${label}: headDim is ${headDim}; it must be even.`);
  const count = tokens * heads * headDim;
  return {
    label,
    ...each(count / 2, { source }),
    bindings: [
      reads(label, 'x', x, count),
      reads(label, 'frequencies', frequencies, headDim),
      readsState(label, state),
      writes(label, 'out', out, count),
    ],
    params: packParams(tokens, heads, headDim),
    bytes: 4 * (2 * count + headDim),
    operations: 3 * count,
  };
}
