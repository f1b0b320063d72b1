import { formatByName } from '../../../../src/formats/registry.ts';
import { uploadWeight } from '../../../../src/kernels/weight.ts';
import { randomizedSvd } from '../../../../src/passes/lowrank/svd.ts';
import type { Contestant } from '../../contestant.ts';
import { OURS } from '../../names.ts';
import { readFloats } from '../../recorded.ts';
import type { Case, OpenCase, SuiteContext } from '../../suite.ts';
import { checkedRows, pickRows, readRows } from './checked-rows.ts';
import { normalValues } from './normal-values.ts';

interface Factorization {
  readonly side: number;
  readonly rank: number;
}

const OVERSAMPLING = 10;
const POWER_ITERATIONS = 2;
/** The matrix has that rank itself, so that its factors have to give it back. */
const TRUE_RANK = 24;
const CHECKED_ROWS = 8;
/** ‖A − U S Vᵀ‖ / ‖A‖, in f32 with a margin: a matrix that is not the right one is off by 1. */
const TOLERANCE = 1e-4;

/** The largest singular values of a square matrix and their vectors. */
export const factorizeCases = (quick: boolean): Case[] =>
  (quick
    ? [{ side: 512, rank: 32 }]
    : [
        { side: 2048, rank: 64 },
        { side: 4096, rank: 128 },
      ]
  ).map((one): Case => {
    const { side, rank } = one;
    // A and its transpose times the sketch, once and again in each power iteration.
    const products = 2 * (POWER_ITERATIONS + 1);
    return {
      suite: 'passes',
      name: `randomized SVD of rank ${rank}, ${side}x${side}`,
      dimensions: { pass: 'factorize', rank, rows: side, k: side, powerIterations: POWER_ITERATIONS },
      bytes: 4 * side * side * products,
      operations: 2 * side * side * (rank + OVERSAMPLING) * products,
      items: { unit: 'weights', count: side * side },
      open: (context) => openFactorization(context, one),
    };
  });

async function openFactorization({ gpu, signal }: SuiteContext, { side, rank }: Factorization): Promise<OpenCase> {
  const values = lowRankValues(side);
  const matrix = uploadWeight(gpu, formatByName('f32'), side, side, { data: new Uint8Array(values.buffer) }, 'A');
  const factor = () =>
    randomizedSvd(gpu, matrix, {
      ...{ rank, oversampling: OVERSAMPLING, powerIterations: POWER_ITERATIONS },
      ...(signal && { signal }),
    });
  const checked = checkedRows(side, 1, CHECKED_ROWS);
  const ours: Contestant = {
    name: OURS,
    note: 'whole, with the read-backs by which it decides; f32, the factors stay on the device',
    prepare: async () => ({
      run: async () => (await factor()).release(),
      check: async () => {
        // New buffers are zeros; from the pool, factors of an earlier run might come back.
        gpu.memory.trim();
        const found = await factor();
        const [u, v] = [
          new Float32Array(await readRows(gpu, found.u.buffer, 4 * rank, checked)),
          await readFloats(gpu, found.v.buffer, side * rank),
        ];
        found.release();
        return Float32Array.from({ length: checked.count * side }, (_, at) => {
          const [row, column] = [Math.floor(at / side), at % side];
          let sum = 0;
          for (let i = 0; i < rank; i++) sum += u[row * rank + i]! * found.singularValues[i]! * v[column * rank + i]!;
          return sum;
        });
      },
      release: () => undefined,
    }),
  };
  return {
    work: { kind: 'own', count: 1 },
    contestants: [ours],
    reference: {
      error: (output) => {
        const expected = pickRows(values, side, checked);
        let [wrong, all] = [0, 0];
        for (const [i, value] of output.entries()) {
          wrong += (value - expected[i]!) ** 2;
          all += expected[i]! ** 2;
        }
        return Math.sqrt(wrong / all);
      },
      tolerance: TOLERANCE,
    },
    release: () => matrix.release(),
  };
}

/** [side, side] of rank `TRUE_RANK`: a product of two normal matrices. */
function lowRankValues(side: number): Float32Array<ArrayBuffer> {
  const factors = normalValues(2 * side * TRUE_RANK);
  const right = side * TRUE_RANK;
  return Float32Array.from({ length: side * side }, (_, at) => {
    const [row, column] = [Math.floor(at / side), at % side];
    let sum = 0;
    for (let i = 0; i < TRUE_RANK; i++) sum += factors[row * TRUE_RANK + i]! * factors[right + column * TRUE_RANK + i]!;
    return sum;
  });
}
