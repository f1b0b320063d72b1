import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Gpu } from '../../../src/gpu/gpu.ts';
import { Scratch } from '../../../src/gpu/scratch.ts';
import { factorHessian } from '../../../src/passes/methods/factored-hessian.ts';
import { openTestGpu } from '../open-test-gpu.ts';

const K = 48;

let gpu: Gpu;
beforeAll(async () => {
  gpu = await openTestGpu();
});
afterAll(() => gpu?.close());

/** I − (1 + below) v vᵀ with |v| = 1: its least eigenvalue is −below. */
const indefinite = (below: number) => (i: number, j: number) => Number(i === j) - (1 + below) / K;

async function factored(h: (i: number, j: number) => number) {
  const scratch = new Scratch(gpu);
  const before = gpu.memory.bytesInUse;
  try {
    const matrix = scratch.upload(
      Float32Array.from({ length: K * K }, (_, at) => h(Math.floor(at / K), at % K)),
      'H',
    );
    const diagonal = Float32Array.from({ length: K }, (_, i) => h(i, i));
    const found = await factorHessian(gpu, matrix, diagonal);
    if (typeof found === 'string') return found;
    const factor = new Float32Array((await gpu.readBack(found.factor.buffer, 0, 4 * K * K)).buffer);
    const order = new Uint32Array((await gpu.readBack(found.order.buffer, 0, 4 * K)).buffer);
    found.release();
    const mean = diagonal.reduce((sum, value) => sum + value, 0) / K;
    return { damping: found.damping / mean, factor, order };
  } finally {
    scratch.release();
    expect(gpu.memory.bytesInUse).toBe(before);
  }
}

test.each([
  [-0.2, 0.01],
  [0.05, 0.1],
  [0.4, 1],
])('a least eigenvalue of minus %f: the damping that factors it is %f of the mean diagonal', async (below, damping) => {
  const h = indefinite(below);
  const found = await factored(h);
  if (typeof found === 'string') throw new Error(found);
  expect(found.damping).toBeCloseTo(damping, 6);
  // UᵀU is H with the damping, in its order.
  const { factor, order } = found;
  const mean = h(0, 0);
  for (let i = 0; i < K; i++) {
    for (let j = i; j < K; j++) {
      let sum = 0;
      for (let m = 0; m <= i; m++) sum += factor[m * K + i]! * factor[m * K + j]!;
      expect(sum).toBeCloseTo(h(order[i]!, order[j]!) + (i === j ? damping * mean : 0), 4);
    }
  }
});

test.each([
  ['far from definite', indefinite(20), /not positive definite, even with 1 times its mean diagonal added/],
  ['of inputs that are always zero', () => 0, /all zero/],
  ['of inputs that are not finite', () => Number.NaN, /not finite/],
])('%s: a reason instead of a factor', async (_, h, reason) => {
  expect(await factored(h)).toMatch(reason);
});
