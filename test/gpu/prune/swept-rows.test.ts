import { expect, test } from 'vitest';
import { openCheckpoint } from '../../../src/files/checkpoint.ts';
import { nodeFolder } from '../../../src/files/node-files.ts';
import type { HostArrays } from '../../../src/formats/format.ts';
import { packedFormat } from '../../../src/formats/packed.ts';
import type { SparsePattern } from '../../../src/formats/packed-layout.ts';
import { formatByName } from '../../../src/formats/registry.ts';
import { maskWords } from '../../../src/kernels/mask-pattern.ts';
import { compressRows } from '../../../src/passes/methods/compress-rows.ts';
import { type FactoredHessian, factorHessian } from '../../../src/passes/methods/factored-hessian.ts';
import { packedRows } from '../../../src/passes/pruning/packed-rows.ts';
import { pruneRows } from '../../../src/passes/pruning/prune-rows.ts';
import { parsePattern } from '../../../src/passes/pruning/pruning.ts';
import { SWEPT_ROUNDS, sweptRows } from '../../../src/passes/pruning/swept-rows.ts';
import { findWeight, readValues } from '../../../src/passes/stored-weight.ts';
import { SAMPLE } from '../cli-bench.ts';
import { gaussian, generator, openBench } from '../layers/bench.ts';

const bench = openBench();

/** A matrix of the sample model, and an H such as inputs whose columns depend on each other have. */
async function sampleMatrix(name: string, rows: number) {
  const checkpoint = await openCheckpoint(await nodeFolder(SAMPLE));
  const weight = findWeight(checkpoint, name);
  const k = weight.shape[1]!;
  const weights = await readValues(checkpoint, weight, 0, rows);
  await checkpoint.close();
  const next = generator(k);
  const tokens = 2 * k;
  const shared = Float32Array.from({ length: tokens }, () => gaussian(next));
  const x = Float32Array.from({ length: tokens * k }, (_, i) => {
    return (1 + 3 * ((i % k) % 3)) * (gaussian(next) + shared[Math.floor(i / k)]!);
  });
  const hessian = new Float32Array(k * k);
  for (let i = 0; i < k; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = 0;
      for (let t = 0; t < tokens; t++) sum += x[t * k + i]! * x[t * k + j]!;
      hessian[i * k + j] = hessian[j * k + i] = sum / tokens;
    }
  }
  return { rows, k, weights, hessian };
}

type Matrix = Awaited<ReturnType<typeof sampleMatrix>>;

/** tr(ΔW H ΔWᵀ) in f64. */
function costOf({ rows, k, weights, hessian }: Matrix, values: Float32Array): number {
  let sum = 0;
  const lost = new Float64Array(k);
  for (let row = 0; row < rows; row++) {
    for (let i = 0; i < k; i++) lost[i] = weights[row * k + i]! - values[row * k + i]!;
    for (let i = 0; i < k; i++) for (let j = 0; j < k; j++) sum += lost[i]! * hessian[i * k + j]! * lost[j]!;
  }
  return sum;
}

/** Prunes with repair; then either quantizes what is left, or sweeps over the original rows. */
async function bothWays(matrix: Matrix, factored: FactoredHessian, text: string, name: string, packs: boolean) {
  const { gpu } = bench;
  const { rows, k, weights } = matrix;
  const pattern = parsePattern(text, 'wanda');
  const values = formatByName(name);
  const format = packs ? packedFormat(values, pattern as SparsePattern) : values;
  const hessian = bench.upload(matrix.hessian);
  const diagonal = Float32Array.from({ length: k }, (_, i) => matrix.hessian[i * (k + 1)]!);
  const dense = { view: bench.upload(weights), rows, k };
  const [mask, original] = [bench.room(maskWords(rows, k)), bench.room(rows * k)];
  const inputs = { factors: bench.upload(diagonal.map(Math.sqrt)), hessian, repair: factored };
  const pruned = await pruneRows(gpu, dense, pattern, undefined, inputs, { maskTo: mask, originalTo: original });
  const known = { hessian, factored, importance: diagonal };
  const how = { method: 'search' as const, rounds: 0 };
  const apart = packs
    ? await packedRows(gpu, dense, mask, format, how, undefined)
    : await compressRows(gpu, dense, format, how, known);
  const swept = await sweptRows(
    gpu,
    { ...dense, mask, original },
    format,
    { rounds: SWEPT_ROUNDS, repaired: true },
    known,
  );
  const decode = (arrays: HostArrays) => format.reference.dequantize(arrays, rows, k);
  const bits = await bench.words(mask, maskWords(rows, k));
  return { pruned, bits, swept, values: [decode(apart.arrays), decode(swept.arrays)] as const };
}

test.each([
  ['model.layers.0.self_attn.q_proj.weight', 56],
  ['model.layers.3.mlp.up_proj.weight', 40],
])('%s: one sweep loses less than pruning and then quantizing, and keeps the mask', async (name, rows) => {
  const matrix = await sampleMatrix(name, rows);
  const { k, hessian } = matrix;
  const diagonal = Float32Array.from({ length: k }, (_, i) => hessian[i * (k + 1)]!);
  const factored = await factorHessian(bench.gpu, bench.upload(hessian), diagonal);
  if (typeof factored === 'string') throw new Error(factored);
  for (const [pattern, format, packs, kept] of [
    ['2:4', 'q4_0', false, 0.5],
    ['2:4', 'q4_0', true, 0.5],
    ['2:4x4', 'int4-g16', true, 0.5],
    ['50%', 'int3-g32-asym', false, 0.5],
    ['block:8x8:75%', 'q4_0', false, 0.25],
  ] as const) {
    const { pruned, bits, swept, values } = await bothWays(matrix, factored, pattern, format, packs);
    const label = `${pattern}, ${format}${packs ? ', packed' : ''}`;
    const [apart, joint] = values.map((found) => costOf(matrix, found)) as [number, number];
    expect(joint, label).toBeLessThan(0.99 * apart);
    // Most of it is what pruning takes: codes add less to that, too.
    const only = pruned.errors.pruned;
    expect(joint - only, label).toBeLessThan(0.7 * (apart - only));
    expect(swept.fellBack).toBe(false);
    // The device's own figure, whose sums are f32.
    expect(Math.abs(swept.errors.chosen / joint - 1), label).toBeLessThan(1e-3);
    expect(pruned.kept, label).toBe(kept * rows * k);
    let wrong = 0;
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < k; column++) {
        const stays = (bits[row * Math.ceil(k / 32) + (column >> 5)]! >>> (column & 31)) & 1;
        if (stays === 0 && values[1][row * k + column] !== 0) wrong++;
        if (!Number.isFinite(values[1][row * k + column]!)) wrong++;
      }
    }
    expect(wrong, label).toBe(0);
  }
  factored.release();
  bench.release();
});
