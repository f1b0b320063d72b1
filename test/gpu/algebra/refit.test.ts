import { expect, test } from 'vitest';
import type { ElementType, HostArrays } from '../../../src/formats/format.ts';
import { arrayBytes, groupOf } from '../../../src/formats/layout.ts';
import { formatByName } from '../../../src/formats/registry.ts';
import { factorHessian } from '../../../src/passes/methods/factored-hessian.ts';
import { refitScales } from '../../../src/passes/methods/gptq.ts';
import { filled, gaussian, generator, openBench } from '../layers/bench.ts';

const bench = openBench();
const ROWS = 9;
/** Of stored floats: the most that rounding moves them by, relative to themselves. */
const EPSILON: Partial<Record<ElementType, number>> = { F32: 2 ** -24, F16: 2 ** -11, BF16: 2 ** -8 };

/** What is lost, eᵀ H e, of a row. */
function lossOf(hessian: Float64Array, error: Float64Array): number {
  const k = error.length;
  let sum = 0;
  for (let i = 0; i < k; i++) for (let j = 0; j < k; j++) sum += error[i]! * hessian[i * k + j]! * error[j]!;
  return sum;
}

/** The least loss of w − Σ x · basis over all x, by the normal equations. */
function leastLoss(hessian: Float64Array, w: Float64Array, basis: readonly Float64Array[]): number {
  const product = (a: Float64Array, b: Float64Array): number => {
    const k = a.length;
    let sum = 0;
    for (let i = 0; i < k; i++) if (a[i] !== 0) for (let j = 0; j < k; j++) sum += a[i]! * hessian[i * k + j]! * b[j]!;
    return sum;
  };
  const used = basis.filter((vector) => vector.some((value) => value !== 0));
  const n = used.length;
  const system = used.map((a) => [...used.map((b) => product(a, b)), product(a, w)]);
  // A direction that others already give has no pivot.
  const solved: number[] = [];
  for (let i = 0; i < n; i++) {
    const pivot = system[i]![i]!;
    if (!(pivot > 1e-9 * product(used[i]!, used[i]!))) continue;
    solved.push(i);
    for (let r = 0; r < n; r++) {
      if (r === i) continue;
      const factor = system[r]![i]! / pivot;
      for (let c = i; c <= n; c++) system[r]![c]! -= factor * system[i]![c]!;
    }
  }
  const rest = Float64Array.from(w);
  for (const i of solved) {
    const x = system[i]![n]! / system[i]![i]!;
    used[i]!.forEach((value, at) => {
      rest[at]! -= x * value;
    });
  }
  return lossOf(hessian, rest);
}

test.each([
  ['int4-g32', 128, 1],
  ['int3-g32-f32', 96, 1],
  ['int2-g64-asym-bf16', 128, 1],
  ['q4_0', 128, 1],
  ['iq4_xs', 512, 1],
  ['q6_k', 512, 1],
  ['q3_k', 256, 1],
  ['int4-g32-fzp-f32', 128, 2],
  ['int3-g64-fzp', 128, 2],
  ['int2-g16-fzp-bf16', 64, 2],
  ['q4_1', 128, 2],
  ['q5_1', 96, 2],
  ['q4_k', 512, 2],
  ['q2_k', 512, 2],
] as const)(
  'what is stored of %s in rows of %i, %i floats a unit, becomes as good as codes allow',
  async (name, k, parts) => {
    const format = formatByName(name);
    const next = generator(k + name.length);
    const weights = filled(ROWS * k, () => 0.1 + gaussian(next));
    const tokens = 2 * k;
    const shared = filled(tokens, () => gaussian(next));
    const x = filled(tokens * k, (i) => (1 + 3 * ((i % k) % 3)) * (gaussian(next) + shared[Math.floor(i / k)]!));
    const hessian = new Float64Array(k * k);
    for (let i = 0; i < k; i++) {
      for (let j = 0; j <= i; j++) {
        let sum = 0;
        for (let t = 0; t < tokens; t++) sum += x[t * k + i]! * x[t * k + j]!;
        hessian[i * k + j] = hessian[j * k + i] = Math.fround(sum / tokens);
      }
    }
    const given = format.reference.quantize(weights, ROWS, k);
    const arrays = format.arrays.map(({ name: array }) => {
      const bytes = given[array]!;
      return bench.upload(new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4));
    });
    const diagonal = Float32Array.from({ length: k }, (_, i) => hessian[i * k + i]!);
    const factored = await factorHessian(bench.gpu, bench.upload(Float32Array.from(hessian)), diagonal);
    if (typeof factored === 'string') throw new Error(factored);
    const dense = { view: bench.upload(weights), rows: ROWS, k };
    await refitScales(bench.gpu, dense, format, arrays, factored);
    const { damping } = factored;
    factored.release();
    for (let i = 0; i < k; i++) hessian[i * k + i]! += damping;

    const found: HostArrays = {};
    for (const [i, array] of format.arrays.entries()) {
      const words = await bench.words(arrays[i]!, arrayBytes(array, ROWS, k) / 4);
      found[array.name] = new Uint8Array(words.buffer);
    }
    const decode = (host: HostArrays) => format.reference.dequantize(host, ROWS, k);
    const [before, after] = [decode(given), decode(found)];
    // Code zero stands for the offset alone.
    const empty = (bytes: Uint8Array | undefined) => new Uint8Array(bytes?.length ?? 0);
    const offsets = decode({ ...found, codes: empty(found.codes), ...(found.high && { high: empty(found.high) }) });
    const unit = groupOf(format, k);
    const epsilon = Math.max(...format.arrays.map(({ type }) => EPSILON[type] ?? 0));
    const sums = { before: 0, after: 0, least: 0, rounding: 0 };
    for (let row = 0; row < ROWS; row++) {
      const part = (values: Float32Array) => Float64Array.from(values.subarray(row * k, (row + 1) * k));
      const [w, was, is, offset] = [weights, before, after, offsets].map(part) as [
        Float64Array,
        Float64Array,
        Float64Array,
        Float64Array,
      ];
      const basis: Float64Array[] = [];
      for (let first = 0; first < k; first += unit) {
        const within = (values: Float64Array) => values.map((v, i) => (i >= first && i < first + unit ? v : 0));
        basis.push(within(is.map((value, i) => value - (parts === 2 ? offset[i]! : 0))));
        if (parts === 2) basis.push(within(offset));
      }
      // Each stored float is off by a random part of half a unit in the last place.
      for (const vector of basis) sums.rounding += (epsilon ** 2 / 3) * lossOf(hessian, vector);
      const minus = (values: Float64Array) => w.map((value, i) => value - values[i]!);
      sums.before += lossOf(hessian, minus(was));
      sums.after += lossOf(hessian, minus(is));
      sums.least += leastLoss(hessian, w, basis);
    }
    // What steps of conjugate gradients leave behind, and what rounding is expected to lose, three times.
    expect(sums.after).toBeLessThan(sums.before);
    expect(sums.after - sums.least).toBeLessThan(0.02 * (sums.before - sums.least) + 3 * sums.rounding);
    bench.release();
  },
);
