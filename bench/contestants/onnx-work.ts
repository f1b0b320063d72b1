// What ONNX Runtime makes of a work of the suite, in Node and in a browser alike.
import { f16BitsToF32 } from '../../src/formats/float16.ts';
import { consecutiveNibbles, transpose } from '../onnx-layouts.ts';
import type { OnnxProducts, OnnxWeight } from '../peers/onnx-model.ts';
import type { LinearWork, Prepared, Traffic } from '../suite/contestant.ts';

/** Of `MatMulNBits`: 0 leaves inputs as they are, 4 allows int8. */
export const ACCURACY_LEVELS = [0, 4] as const;
export type AccuracyLevel = (typeof ACCURACY_LEVELS)[number];

/** Where inputs are rounded to int8 before a product; and where ours and the reference round them, and they are not. */
const ROUNDED = 0.05;
const UNROUNDED = 2 ** -7;

export const onnxName = (package_: string, accuracy: AccuracyLevel): string =>
  accuracy === 0 ? package_ : `${package_}, int8 inputs`;

/** A work as models of ONNX. */
export interface OnnxWork {
  /** Of one model: as many copies as its products can take turns with. */
  readonly weights: readonly OnnxWeight[];
  readonly products: OnnxProducts;
  /** Sessions of that model, which take turns run by run, so that as many copies are cycled through as on our side. */
  readonly sessions: number;
  /** What a contestant has to say about it besides how it runs. */
  readonly prepared: Pick<Prepared, 'note' | 'traffic' | 'tolerance'>;
}

/** Undefined where ONNX Runtime has no such weights, or rounds no inputs for them. */
export async function onnxWork(
  work: LinearWork,
  accuracy: AccuracyLevel,
  included: string,
): Promise<OnnxWork | undefined> {
  const weight = await onnxWeightOf(work);
  if (!weight || (weight.kind === 'dense' && accuracy === 4)) return undefined;
  const { n, k, count, copies, batch } = work;
  const each = Math.min(copies, count);
  const sessions = Math.ceil(copies / count);
  const operator = weight.kind === 'dense' ? 'MatMul' : `MatMulNBits at accuracy level ${accuracy}`;
  const turns = `${count} products of one input in a run, over ${each * sessions} copies of the weight in ${sessions === 1 ? 'one session' : `${sessions} sessions that take turns`}`;
  return {
    weights: Array.from({ length: each }, () => weight),
    products: { tokens: batch, n, k, count, accuracy },
    sessions,
    prepared: {
      note: [`${operator}: ${turns}`, included, ...differences(weight, work, accuracy)].join('; '),
      traffic: onnxTraffic(weight, work, accuracy),
      ...(accuracy === 4 ? { tolerance: ROUNDED } : work.rounding === 'int8 inputs' && { tolerance: UNROUNDED }),
    },
  };
}

/** What is different from ours. */
function differences(weight: OnnxWeight, { rounding }: LinearWork, accuracy: AccuracyLevel): string[] {
  const list: string[] = [];
  if (weight.kind === 'blocks') {
    list.push(
      `the same codes, with scales in f32, as its operator takes them beside inputs in f32, where ours are in f16: ${weight.bits + 1} bits a weight instead of ${weight.bits + 0.5}`,
    );
  }
  if (rounding === 'int8 inputs' && accuracy === 0) list.push('inputs as they are, where ours are rounded to int8');
  if (rounding === 'f16 sums') list.push('nothing is rounded to f16, as our sums are');
  return list;
}

/** What one product reads, writes and computes in its layout. */
function onnxTraffic(weight: OnnxWeight, { n, k, batch }: LinearWork, accuracy: AccuracyLevel): Traffic {
  const bytes = weight.kind === 'dense' ? 4 * n * k : weight.codes.byteLength + weight.scales.byteLength;
  return {
    bytes: bytes + 4 * batch * (n + k),
    operations: 2 * n * k * batch,
    arithmetic: accuracy === 4 ? 'i8' : 'f32',
  };
}

/** What a work of the suite multiplies with; undefined where ONNX Runtime has no such weights. */
async function onnxWeightOf(work: LinearWork): Promise<OnnxWeight | undefined> {
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
