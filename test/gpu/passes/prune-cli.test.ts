import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { runPrune } from '../../../src/cli/prune.ts';
import { ArgumentError, FormatError, RecipeError } from '../../../src/errors.ts';
import { openCliBench, running, SAMPLE } from '../cli-bench.ts';

const cli = openCliBench();

test('prune writes a model with zeros, and says how many', async () => {
  const out = join(cli.folder, 'half.gguf');
  await runPrune(SAMPLE, { out, pattern: '2:4', format: 'q8_0', json: true }, running);
  const report = JSON.parse(cli.printed);
  expect(report).toMatchObject({
    output: out,
    recipe: { rules: [{ role: 'linear', format: 'q8_0', prune: { pattern: '2:4' } }] },
    notices: [],
  });
  for (const { role, prune } of report.tensors) {
    if (role === 'linear') expect(prune).toMatchObject({ pattern: '2:4', score: 'magnitude', sparsity: 0.5 });
    else expect(prune).toBeUndefined();
  }
});

test('a dry run shows what would go, and writes nothing', async () => {
  await runPrune(
    SAMPLE,
    { out: join(cli.folder, 'none'), pattern: 'block:32x32:75%', format: 'keep', dryRun: true },
    running,
  );
  expect(cli.printed).toMatch(/linear +56 +f16, block:32x32:75%/);
  expect(await readdir(cli.folder)).not.toContain('none');
});

test('wrong options are refused before anything is read', async () => {
  const run = (more: object) =>
    runPrune(SAMPLE, { out: join(cli.folder, 'bad'), pattern: '2:4', format: 'keep', ...more }, running);
  await expect(run({ pattern: '4:4' })).rejects.toThrow(
    'The pruning: rules.0.prune: The pattern 4:4 keeps 4 of 4; keep 1 to 3.',
  );
  await expect(run({ score: 'wanda' })).rejects.toThrow(/The score wanda needs a calibration text \(--calibration/);
  await expect(run({ score: 'wander' })).rejects.toThrow(RecipeError);
  await expect(run({ format: 'q4' })).rejects.toThrow(FormatError);
  await expect(run({ calibration: 'a', statistics: 'b' })).rejects.toThrow(ArgumentError);
  expect(await readdir(cli.folder)).not.toContain('bad');
});
