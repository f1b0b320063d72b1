import type { Gpu } from 'compressa';
import { expect, test, vi } from 'vitest';
import type { Claim, Measurement } from '../../../bench/claim.ts';
import { CancelledError, DeviceLostError } from '../../../src/errors.ts';

// The sources, whose classes the claims have by the package's name.
vi.mock('compressa', () => import('../../../src/errors.ts'));
const { runClaim } = await import('../../../bench/run-claim.ts');

const figure: Measurement = { claim: 'one', threshold: '1', measured: '1', pass: true };
/** A claim that gives a figure and then throws. */
const throwing = (error: unknown): Claim => ({
  name: 'a claim',
  async *measure() {
    yield figure;
    throw error;
  },
});

async function figuresOf(claim: Claim, lost?: Error): Promise<Measurement[]> {
  const throwIfLost = () => {
    if (lost) throw lost;
  };
  const found: Measurement[] = [];
  for await (const one of runClaim(claim, { throwIfLost } as unknown as Gpu, () => true)) found.push(one);
  return found;
}

test('a claim that throws has failed, and keeps its figures', async () => {
  const failed = {
    ...{ claim: 'a claim', threshold: 'can be measured', pass: false },
    measured: 'TypeError: no such thing',
  };
  expect(await figuresOf(throwing(new TypeError('no such thing')))).toEqual([figure, failed]);
  const all: Claim = { name: 'a claim', measure: () => Promise.reject(new TypeError('no such thing')) };
  expect(await figuresOf(all)).toEqual([failed]);
  expect(await figuresOf({ name: 'a claim', measure: async () => [figure] })).toEqual([figure]);
});

test('nothing is measured after a cancellation or on a device that is lost', async () => {
  for (const error of [new CancelledError('A claim'), new DeviceLostError('gone')]) {
    await expect(figuresOf(throwing(error))).rejects.toBe(error);
  }
  const lost = new DeviceLostError('gone');
  await expect(figuresOf(throwing(new TypeError('of a lost device')), lost)).rejects.toBe(lost);
});
