import { bootstrapInterval, type Gpu, median, type Weight } from 'compressa';
import type { Claim, Measurement } from '../claim.ts';
import { inPairs } from '../in-pairs.ts';
import { onnxWeight, referenceRow, relativeError } from '../onnx-weights.ts';
import type { OnnxWeight } from '../peers/onnx-model.ts';
import { type OnnxRuntime, type OrtChain, openOnnxRuntime } from '../peers/onnx-runtime.ts';
import { type Chain, makeInput, makeWeights, openChain, PRODUCTS } from '../products.ts';

const SIZE = 4096;
/** `COMPRESSA_PAIRS=3` for a first look. */
const PAIRS = Number(process.env.COMPRESSA_PAIRS ?? 15);
/** `COMPRESSA_CASES=int4-g32-f32:1,f32:16` for some only. */
const ONLY = process.env.COMPRESSA_CASES?.split(',');

/** Lowest ratio that the interval may reach, by format and tokens. */
const FLOORS: Record<string, Record<number, number>> = {
  'int4-g32-f32': { 1: 1.8, 16: 1.1, 128: 1.1 },
  'int8-g32-f32': { 1: 1.8, 16: 1.1, 128: 1.1 },
  f32: { 1: 3, 16: 3, 128: 1.5, 512: 1.5 },
};

/** Distance to the f64 reference, relative to its size: of sums in f32, and where inputs are rounded to int8 before each product. */
const EXACT = 1e-4;
const ROUNDED = 0.06;

/**
 * Our products with weights in stored form against ONNX Runtime's WebGPU provider on the same adapter: MatMulNBits with the same codes and
 * scales at the accuracy level (0 or 4) that takes it less time, MatMul with the same f32 values. Eight products follow each other, each with
 * a weight of its own; inputs, outputs and weights stay on the device. A time goes from the host's call to its knowledge that all is done:
 * for ours a submit and a wait, for the session a run that reads four bytes back, since it offers no other way to wait. Ratios are its
 * time over ours, of pairs in alternating order.
 */
export const claim: Claim = {
  name: 'linear over ONNX Runtime',
  async *measure(gpu) {
    const ort = openOnnxRuntime();
    if (typeof ort === 'string') {
      yield { claim: 'ONNX Runtime', threshold: 'is there', measured: ort, pass: false };
      return;
    }
    for (const [format, floors] of Object.entries(FLOORS)) {
      const cases = Object.entries(floors).filter(([tokens]) => !ONLY || ONLY.includes(`${format}:${tokens}`));
      if (cases.length === 0) continue;
      const weights = await makeWeights(gpu, format, SIZE);
      const theirs: OnnxWeight[] = [];
      for (const weight of weights) theirs.push(await onnxWeight(gpu, weight));
      for (const [tokens, floor] of cases) {
        yield await compare(gpu, ort, { format, tokens: Number(tokens), floor, weights, theirs });
      }
      for (const weight of weights) weight.release();
    }
  },
};

interface Case {
  readonly format: string;
  readonly tokens: number;
  readonly floor: number;
  readonly weights: readonly Weight[];
  readonly theirs: readonly OnnxWeight[];
}

async function compare(
  gpu: Gpu,
  ort: OnnxRuntime,
  { format, tokens, floor, weights, theirs }: Case,
): Promise<Measurement> {
  const x = makeInput(tokens * SIZE);
  const ours = await openChain(gpu, weights, tokens, x);
  const candidates: { level: 0 | 4; chain: OrtChain; time: number }[] = [];
  for (const level of format === 'f32' ? ([0] as const) : ([0, 4] as const)) {
    const chain = await ort.open(theirs, { tokens, size: SIZE, accuracy: level }, x);
    candidates.push({ level, chain, time: Number.POSITIVE_INFINITY });
  }
  const wrong = await check();
  if (wrong) return { claim: `${format}, ${tokens} tokens`, threshold: 'right products', measured: wrong, pass: false };
  for (let round = 0; round < 3; round++) {
    for (const candidate of candidates) candidate.time = Math.min(candidate.time, await milliseconds(candidate.chain));
  }
  const best = candidates.reduce((a, b) => (a.time <= b.time ? a : b));
  const [oursTimes, theirTimes] = await inPairs(
    PAIRS,
    () => milliseconds(ours),
    () => milliseconds(best.chain),
  );
  const ratios = oursTimes.map((time, i) => theirTimes[i]! / time);
  const [low, high] = bootstrapInterval(ratios);
  ours.release();
  for (const { chain } of candidates) await chain.release();
  const each = (values: readonly number[]) => `${(median(values) / PRODUCTS).toFixed(2)} ms`;
  const variant = ours.variant;
  const level = format === 'f32' ? 'MatMul' : `MatMulNBits at level ${best.level}`;
  return {
    claim: `${format} ${SIZE}x${SIZE}, ${tokens} tokens (${variant}) over ONNX Runtime ${ort.version}, ${level}`,
    threshold: `at least ${floor}x`,
    measured: `${median(ratios).toFixed(2)} (95%: ${low.toFixed(2)} to ${high.toFixed(2)}; ${each(oursTimes)} and ${each(theirTimes)})`,
    pass: low >= floor,
  };

  /** What is wrong with either side's first and last row, or nothing. */
  async function check(): Promise<string | undefined> {
    const rows = [...new Set([0, tokens - 1])];
    const wanted = rows.map((row) =>
      referenceRow(theirs, { tokens, size: SIZE }, x.subarray(row * SIZE, (row + 1) * SIZE)),
    );
    const sides = [
      { name: 'ours', chain: ours, most: EXACT },
      ...candidates.map(({ level, chain }) => ({
        name: `ONNX Runtime at level ${level}`,
        chain,
        most: level === 4 ? ROUNDED : EXACT,
      })),
    ];
    for (const { name, chain, most } of sides) {
      const y = await chain.output();
      for (const [i, row] of rows.entries()) {
        const error = relativeError(y.subarray(row * SIZE, (row + 1) * SIZE), wanted[i]!);
        if (!(error <= most)) return `${name}: row ${row} is off by ${error.toExponential(2)}`;
      }
    }
    return undefined;
  }
}

async function milliseconds(chain: Chain | OrtChain): Promise<number> {
  const start = performance.now();
  await chain.run();
  return performance.now() - start;
}
