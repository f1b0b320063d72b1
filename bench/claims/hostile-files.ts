import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Claim, Measurement } from '../claim.ts';

/** Files of each kind. */
const COUNT = 1500;
const SEED = 20260401;
/** Most milliseconds for one file, and most bytes of memory for all of them on top of what the process took before. */
const MOST_MS = 1000;
const MOST_BYTES = 200e6;
/** Milliseconds after which a child hangs. */
const HANGS = 300_000;

const CHILD = fileURLToPath(new URL('../../test/hostile/read-mutated.ts', import.meta.url));

interface Outcome {
  /** `read`, the code of a named error, or what else was thrown. */
  readonly outcome: string;
  readonly ms: number;
  readonly bytes: number;
}

/** Opens and reads mutated files of one kind in a process of its own. */
function measured(name: string): Measurement[] {
  const child = spawnSync(process.execPath, ['--import', 'tsx', CHILD, name, String(SEED), String(COUNT)], {
    encoding: 'utf8',
    timeout: HANGS,
    maxBuffer: 64e6,
  });
  const lines = child.stdout.trim().split('\n');
  if (child.status !== 0) {
    const cause = child.signal ? `ended by ${child.signal}` : `exit code ${child.status}: ${child.stderr.slice(-500)}`;
    return [
      {
        claim: `${name}: no crash, no hang`,
        threshold: 'exit code 0',
        measured: `${cause} after ${lines.length} files`,
        pass: false,
      },
    ];
  }
  const { peak } = JSON.parse(lines.pop()!) as { peak: number };
  const outcomes = lines.map((line) => JSON.parse(line) as Outcome);
  const counts = new Map<string, number>();
  for (const { outcome } of outcomes) counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
  const unnamed = outcomes.filter(({ outcome }) => outcome !== 'read' && !/^[A-Z_]+$/.test(outcome)).length;
  const slowest = Math.max(...outcomes.map(({ ms }) => ms));
  return [
    {
      claim: `${name}: ${COUNT} mutated files, each a named error or a correct read`,
      threshold: 'nothing else, no crash, no hang',
      measured: [...counts].map(([outcome, n]) => `${n} ${outcome}`).join(', '),
      pass: outcomes.length === COUNT && unnamed === 0 && (counts.get('read') ?? 0) > 0,
    },
    {
      claim: `${name}: the slowest of them`,
      threshold: `under ${MOST_MS} ms`,
      measured: `${slowest.toFixed(1)} ms`,
      pass: slowest < MOST_MS,
    },
    {
      claim: `${name}: memory at its peak, over all of them`,
      threshold: `under ${MOST_BYTES / 1e6} MB above what the process took before`,
      measured: `${(peak / 1e6).toFixed(1)} MB`,
      pass: peak < MOST_BYTES,
    },
  ];
}

/** Damaged and malicious files give a named error or a correct read, soon and in little memory. */
export const claim: Claim = {
  name: 'hostile files',
  measure: async () => [...measured('bad.safetensors'), ...measured('bad.gguf')],
};
