import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CompressaError } from '../../src/errors.ts';
import { openCheckpoint } from '../../src/files/checkpoint.ts';
import { memorySource } from '../../src/files/source.ts';
import { checkWeight } from '../../src/passes/stored-weight.ts';
import { mutated, mutationsOf } from './mutations.ts';
import { readEverything } from './read-everything.ts';
import { ggufSample, type Sample, safetensorsSample } from './samples.ts';

const readAll = async ({ name }: Sample, bytes: Uint8Array): Promise<number> =>
  readEverything(await openCheckpoint(memorySource(name, bytes), { checkWeight }), bytes);

describe.each([safetensorsSample, ggufSample])('$name', (sample) => {
  test('as it is, is read whole', async () => {
    expect(await readAll(sample, sample.bytes)).toBe(sample.bytes.byteLength - sample.header);
  });

  test('with any change gives a named error or a correct read', async () => {
    let refused = 0;
    await fc.assert(
      fc.asyncProperty(mutationsOf(sample), async (mutations) => {
        const bytes = mutated(sample, mutations);
        const outcome = await readAll(sample, bytes).catch((error: unknown) => error);
        if (typeof outcome === 'number') return;
        expect(outcome).toBeInstanceOf(CompressaError);
        expect((outcome as Error).message).toMatch(/^bad\./);
        refused++;
      }),
      { numRuns: 600, seed: 20240607 },
    );
    // The changes hit something, and not all of them at once.
    expect(refused).toBeGreaterThan(100);
    expect(refused).toBeLessThan(590);
  });
});
