// The weights of our formats as ONNX Runtime takes them, and what their products are in f64.

import { type Gpu, readWeight, type Weight } from 'compressa';
import { f16BitsToF32 } from '../src/formats/float16.ts';
import { consecutiveNibbles, transpose } from './onnx-layouts.ts';
import type { OnnxChain, OnnxWeight } from './peers/onnx-model.ts';

/**
 * A weight on the GPU for ONNX Runtime: f32, f16 as f32, q4_0 with scales in f32, or integer groups with scales in f32 and the middle code as zero. Codes
 * stay the same.
 */
export async function onnxWeight(gpu: Gpu, weight: Weight): Promise<OnnxWeight> {
  const { format, rows, k } = weight;
  const arrays = await readWeight(gpu, weight);
  if (format.name === 'f32') return { kind: 'dense', values: transpose(floatsOf(arrays.data!), rows, k) };
  if (format.name === 'f16') return { kind: 'dense', values: transpose(widened(arrays.data!), rows, k) };
  if (format.name === 'q4_0') {
    return {
      kind: 'blocks',
      bits: 4,
      block: 32,
      codes: consecutiveNibbles(arrays.codes!),
      scales: widened(arrays.scales!),
    };
  }
  const { bits, zero, scale, group } = format.integer ?? {};
  if ((bits !== 4 && bits !== 8) || zero !== 'middle' || scale !== 'f32' || typeof group !== 'number') {
    throw new Error(`MatMulNBits has no weights like ${format.name}.`);
  }
  const codes = bits === 8 ? arrays.codes!.map((code) => code ^ 0x80) : consecutiveNibbles(arrays.codes!);
  return { kind: 'blocks', bits, block: group, codes, scales: floatsOf(arrays.scales!) };
}

const floatsOf = (bytes: Uint8Array) => new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);

const widened = (bytes: Uint8Array) =>
  Float32Array.from(new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2), f16BitsToF32);

/** One row of the input times all weights, one after another, in f64. */
export function referenceRow(weights: readonly OnnxWeight[], { size }: OnnxChain, x: Float32Array): Float64Array {
  let value = Float64Array.from(x);
  for (const weight of weights) {
    const next = new Float64Array(size);
    if (weight.kind === 'dense') {
      for (let c = 0; c < size; c++) {
        const factor = value[c]!;
        for (let r = 0; r < size; r++) next[r]! += factor * weight.values[c * size + r]!;
      }
    } else {
      const { bits, block, codes, scales } = weight;
      for (let r = 0; r < size; r++) {
        let sum = 0;
        for (let c = 0; c < size; c++) {
          const at = r * size + c;
          const code = bits === 8 ? codes[at]! : (codes[at >> 1]! >> (4 * (at & 1))) & 15;
          sum += scales[Math.floor(at / block)]! * (code - 2 ** (bits - 1)) * value[c]!;
        }
        next[r] = sum;
      }
    }
    value = next;
  }
  return value;
}

/** |got − want| / |want| over a row. NaN where the row has any. */
export function relativeError(got: Float32Array, want: Float64Array): number {
  let difference = 0;
  let whole = 0;
  for (const [i, value] of want.entries()) {
    difference += (got[i]! - value) ** 2;
    whole += value ** 2;
  }
  return Math.sqrt(difference / whole);
}
