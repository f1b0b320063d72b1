// Reads mutated files with the built package, in a process of its own: bench/claims/hostile-files.ts counts what comes of it.
// Arguments: the name of the sample, the seed, how many. Prints a line of JSON for each file, and one at the end.
import { CompressaError, memorySource, openCheckpoint } from 'compressa';
import fc from 'fast-check';
import { mutated, mutationsOf } from './mutations.ts';
import { readEverything } from './read-everything.ts';
import { ggufSample, safetensorsSample } from './samples.ts';

const [name, seed, count] = process.argv.slice(2);
const sample = [ggufSample, safetensorsSample].find((each) => each.name === name)!;

async function outcomeOf(bytes: Uint8Array): Promise<string> {
  try {
    await readEverything(await openCheckpoint(memorySource(sample.name, bytes)), bytes);
    return 'read';
  } catch (error) {
    return error instanceof CompressaError ? error.code : `not named: ${error}`;
  }
}

const mutations = fc.sample(mutationsOf(sample), { numRuns: Number(count), seed: Number(seed) });
// The sound file first, so that what the code itself takes is there already.
await outcomeOf(sample.bytes);
const before = process.memoryUsage.rss();
for (const each of mutations) {
  const bytes = mutated(sample, each);
  const started = performance.now();
  const outcome = await outcomeOf(bytes);
  console.log(JSON.stringify({ outcome, ms: performance.now() - started, bytes: bytes.byteLength }));
}
// The highest that it ever was, in bytes above what it was before the first of them.
console.log(JSON.stringify({ peak: process.resourceUsage().maxRSS * 1024 - before }));
