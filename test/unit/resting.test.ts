import { describe, expect, test } from 'vitest';
import { resting } from '../../src/gpu/resting.ts';

/** Turns of the event loop until `end`, in milliseconds, as Dawn takes them while it waits. */
async function turnsWithin(end: number): Promise<number> {
  const start = performance.now();
  let turns = 0;
  while (performance.now() - start < end) {
    await new Promise<void>((resolve) => setImmediate(resolve));
    turns++;
  }
  return turns;
}

describe('waiting for a device', () => {
  test('gives what comes, and the error of what fails', async () => {
    expect(await resting(Promise.resolve(7))).toBe(7);
    await expect(resting(Promise.reject(new Error('lost')))).rejects.toThrow('lost');
  });

  test('leaves the processor to others: the event loop turns a few thousand times a second, not as often as it can', async () => {
    let done = () => {};
    const waited = resting(new Promise<void>((resolve) => (done = resolve)));
    const turns = await turnsWithin(400);
    done();
    await waited;
    // A quarter of a millisecond each, but for the first two milliseconds. A busy machine takes fewer turns, never more.
    expect(turns).toBeLessThan(4 * 400);
    expect(await turnsWithin(400)).toBeGreaterThan(turns);
  });

  test('several at once sleep once a turn, and the last ends it', async () => {
    const ends: (() => void)[] = [];
    const waits = Array.from({ length: 50 }, () => resting(new Promise<void>((resolve) => ends.push(resolve))));
    const turns = await turnsWithin(600);
    expect(turns).toBeGreaterThan(100);
    for (const end of ends) end();
    await Promise.all(waits);
  });
});
