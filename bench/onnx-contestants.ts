// ONNX Runtime as contestants of the suite.

import { f16BitsToF32 } from '../src/formats/float16.ts';
import { consecutiveNibbles, transpose } from './onnx-layouts.ts';
import type { OnnxWeight } from './peers/onnx-model.ts';
import { openOnnxRuntime } from './peers/onnx-runtime.ts';
import type { Contestant, LinearWork, Prepared, Work } from './suite/contestant.ts';

/** Where inputs are rounded to int8 before a product. */
const ROUNDED = 0.05;

/** ONNX Runtime's WebGPU provider in Node, or what to do about its absence. */
export function onnxContestants(): readonly Contestant[] | string {
  const ort = openOnnxRuntime();
  if (typeof ort === 'string') return ort;
  const note =
    'A run of a session: input, outputs and weights stay on the device, four bytes are read back to wait for it. The same codes and scales.';
  const prepare = async (work: LinearWork, accuracy: 0 | 4): Promise<Prepared | undefined> => {
    const weight = await hostWeight(work);
    if (!weight || (weight.kind === 'dense' && accuracy === 4)) return undefined;
    const { n, k, count, batch: tokens } = work;
    const weights = Array.from({ length: Math.min(work.copies, count) }, () => weight);
    const chain = await ort.openIndependent(weights, { tokens, n, k, count, accuracy }, work.x);
    return {
      run: chain.run,
      check: chain.output,
      release: chain.release,
      ...(accuracy === 4 && { tolerance: ROUNDED }),
    };
  };
  return ([0, 4] as const).map((accuracy) => ({
    name: accuracy === 0 ? 'ONNX Runtime' : 'ONNX Runtime, int8 inputs',
    note: `Version ${ort.version}. ${note}`,
    prepare: async (work: Work) => (work.kind === 'linear' ? prepare(work, accuracy) : undefined),
  }));
}

/** What a work of the suite multiplies with; undefined where ONNX Runtime has no such weights. */
async function hostWeight(work: LinearWork): Promise<OnnxWeight | undefined> {
  const { format, n, k } = work;
  if (format === 'f32') return { kind: 'dense', values: transpose(await work.weights(), n, k) };
  if (format !== 'q4_0' && format !== 'q8_0') return undefined;
  const { codes, scales } = await work.stored();
  const halves = new Uint16Array(scales!.buffer, scales!.byteOffset, scales!.byteLength / 2);
  const { bits, stored } =
    format === 'q4_0'
      ? { bits: 4 as const, stored: consecutiveNibbles(codes!) }
      : { bits: 8 as const, stored: codes!.map((code) => code ^ 0x80) };
  return { kind: 'blocks', bits, block: 32, codes: stored, scales: Float32Array.from(halves, f16BitsToF32) };
}
