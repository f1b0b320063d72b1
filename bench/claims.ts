// Runs the claims (npm run claims -- [part of a name [parts of the claim, such as q4_k,q6_k]]): a table on standard error, JSON on standard
// output, exit code 1 if one fails.
import { readdir } from 'node:fs/promises';
import { openGpu } from 'compressa';
import { deviceNames } from '../src/gpu/device-names.ts';
import type { Claim, Measurement } from './claim.ts';
import { runClaim } from './run-claim.ts';

const WORDS = new Map([
  [true, 'pass'],
  [false, 'FAIL'],
  [null, 'skip'],
]);

const wanted = process.argv[2] ?? '';
const parts = process.argv[3]?.split(',');
const files = (await readdir(new URL('./claims/', import.meta.url))).filter((file) => file.includes(wanted)).sort();
const gpu = await openGpu();
const results: (Measurement & { name: string })[] = [];
const device = deviceNames(gpu);
console.error(`Device: ${device.name}${device.driver === null ? '' : `, driver ${device.driver}`}`);
try {
  for (const file of files) {
    const { claim } = (await import(`./claims/${file}`)) as { claim: Claim };
    for await (const result of runClaim(claim, gpu, (part) => parts?.includes(part) ?? true)) {
      results.push({ name: claim.name, ...result });
      console.error(
        `${WORDS.get(result.pass)}  ${claim.name}: ${result.claim}: ${result.measured} (${result.threshold})`,
      );
    }
  }
} finally {
  // A run that lost its device leaves what it has measured.
  console.log(JSON.stringify({ version: 1, device: device.name, driver: device.driver, results }, undefined, 2));
  gpu.close();
}
process.exitCode = results.length > 0 && results.every(({ pass }) => pass !== false) ? 0 : 1;
