import { afterAll, beforeAll, expect, test } from 'vitest';
import { ArgumentError } from '../../../src/errors.ts';
import { openCheckpoint } from '../../../src/files/checkpoint.ts';
import { memoryFolder } from '../../../src/files/model-files.ts';
import { memoryOutput } from '../../../src/files/sink.ts';
import type { Gpu } from '../../../src/gpu/gpu.ts';
import { Scratch } from '../../../src/gpu/scratch.ts';
import { ReferenceRun } from '../../../src/graph/reference.ts';
import { compress } from '../../../src/passes/compress.ts';
import { dequantizedWeights } from '../../../src/passes/load-weights.ts';
import { makeCorrection } from '../../../src/passes/methods/correction.ts';
import { factorHessian } from '../../../src/passes/methods/factored-hessian.ts';
import { filled, gaussian, generator } from '../layers/bench.ts';
import { openTestGpu } from '../open-test-gpu.ts';
import { modelFolder, smallConfig, windowsOf } from '../small-model.ts';

let gpu: Gpu;
beforeAll(async () => {
  gpu = await openTestGpu();
});
afterAll(() => gpu?.close());

/** The solution of M z = b for a symmetric, positive definite M, by elimination in f64. */
function solve(m: Float64Array, b: Float64Array): Float64Array {
  const n = b.length;
  const rows = Array.from({ length: n }, (_, i) => [...m.subarray(i * n, (i + 1) * n), b[i]!]);
  for (let i = 0; i < n; i++) {
    for (let r = i + 1; r < n; r++) {
      const factor = rows[r]![i]! / rows[i]![i]!;
      for (let c = i; c <= n; c++) rows[r]![c]! -= factor * rows[i]![c]!;
    }
  }
  const z = new Float64Array(n);
  for (let i = n - 1; i >= 0; i--) {
    let sum = rows[i]![n]!;
    for (let c = i + 1; c < n; c++) sum -= rows[i]![c]! * z[c]!;
    z[i] = sum / rows[i]![i]!;
  }
  return z;
}

test.each([
  [7, 5],
  [48, 70],
  [97, 33],
])('corrected weights of %i columns are the regression on the inputs that there are', async (k, rows) => {
  const next = generator(k);
  const tokens = 4 * k;
  const weights = filled(rows * k, () => gaussian(next));
  const x = filled(tokens * k, (i) => (1 + 2 * (i % 3)) * gaussian(next));
  const original = x.map((value, i) => value + 0.3 * gaussian(next) + 0.1 * x[(i + 1) % x.length]!);
  const means = (a: Float32Array, b: Float32Array) => {
    const sums = new Float64Array(k * k);
    for (let t = 0; t < tokens; t++) {
      for (let i = 0; i < k; i++) for (let j = 0; j < k; j++) sums[i * k + j]! += a[t * k + i]! * b[t * k + j]!;
    }
    return sums.map((sum) => sum / tokens);
  };
  const hessian = means(x, x);
  const cross = means(
    original.map((value, i) => value - x[i]!),
    x,
  );
  const scratch = new Scratch(gpu);
  const diagonal = Float32Array.from({ length: k }, (_, i) => hessian[i * (k + 1)]!);
  const factored = await factorHessian(gpu, scratch.upload(Float32Array.from(hessian), 'H'), diagonal);
  if (typeof factored === 'string') throw new Error(factored);
  const correction = await makeCorrection(gpu, scratch.upload(Float32Array.from(cross), 'cross'), factored);
  const view = scratch.upload(weights, 'weights');
  const share = 0.75;
  await correction.apply({ view, rows, k }, share);
  const changed = new Float32Array((await gpu.readBack(view.buffer, 0, 4 * rows * k)).buffer);
  const damped = hessian.map((value, i) => value + (i % (k + 1) === 0 ? factored.damping : 0));
  correction.release();
  factored.release();
  scratch.release();

  let [worst, largest] = [0, 0];
  for (let row = 0; row < rows; row++) {
    // W M = W C (H + λ)⁻¹, a row at a time.
    const right = new Float64Array(k);
    for (let i = 0; i < k; i++) {
      for (let j = 0; j < k; j++) right[j]! += weights[row * k + i]! * cross[i * k + j]!;
    }
    for (const [j, change] of solve(damped, right).entries()) {
      const expected = weights[row * k + j]! + share * change;
      worst = Math.max(worst, Math.abs(changed[row * k + j]! - expected));
      largest = Math.max(largest, Math.abs(share * change));
    }
  }
  expect(largest).toBeGreaterThan(0.01);
  // Far below what there is to change; inputs of condition 100 and rounding of f32 make some 1e-5.
  expect(worst / largest).toBeLessThan(1e-4);
});

test('a model whose later matrices make up for earlier ones says what the original says more closely', async () => {
  const { graph, values, open } = await modelFolder(smallConfig());
  const windows = windowsOf(graph.vocabulary);
  const outputs = (weights: (name: string) => Float32Array) =>
    windows.map((window) => new ReferenceRun(graph, weights).forward([...window]));
  const wanted = outputs(values);
  const lossWith = async (correction: number | undefined) => {
    const output = memoryOutput('out');
    const before = gpu.memory.bytesInUse;
    const calibration = { windows, ...(correction !== undefined && { correction }) };
    await compress(open(), output, { gpu, format: 'int2-g32', method: 'gptq', calibration });
    expect(gpu.memory.bytesInUse).toBe(before);
    const checkpoint = await openCheckpoint(memoryFolder('out', Object.fromEntries(output.files)));
    const made = outputs(await dequantizedWeights(checkpoint, graph));
    await checkpoint.close();
    return made.reduce(
      (sum, logits, w) => sum + logits.reduce((part, value, i) => part + (value - wanted[w]![i]!) ** 2, 0),
      0,
    );
  };
  const [without, half, whole, byDefault] = [
    await lossWith(0),
    await lossWith(0.5),
    await lossWith(1),
    await lossWith(undefined),
  ];
  expect(half).toBeLessThan(without);
  expect(whole).toBeLessThan(half);
  expect(byDefault).toBe(half);
});

test('shares that make no sense are refused', async () => {
  const { graph, open } = await modelFolder(smallConfig());
  const windows = windowsOf(graph.vocabulary);
  const run = (calibration: object) =>
    compress(open(), memoryOutput('out'), {
      gpu,
      format: 'int2-g32',
      method: 'gptq',
      calibration: { windows, ...calibration },
    });
  for (const correction of [-0.1, 1.5, Number.NaN]) {
    await expect(run({ correction })).rejects.toThrow(ArgumentError);
    await expect(run({ correction })).rejects.toThrow(/a share from 0 to 1/);
  }
  await expect(run({ correction: 0.5, propagate: false })).rejects.toThrow(/nothing to correct/);
});
