import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import * as v from 'valibot';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { registerCompress } from '../../../src/cli/compress.ts';
import { registerDevice } from '../../../src/cli/device.ts';
import { registerInspect } from '../../../src/cli/inspect.ts';
import {
  CompressOutputSchema,
  DeviceOutputSchema,
  InspectOutputSchema,
  RunOutputSchema,
} from '../../../src/cli/output-schemas.ts';
import { registerRun } from '../../../src/cli/run.ts';
import { openTestGpu } from '../open-test-gpu.ts';

const SAMPLE = fileURLToPath(new URL('../../../models/union-7m', import.meta.url));

let folder: string;
let printed: string;
beforeAll(async () => {
  // Keeps Dawn's entry object reachable for the commands, which open their own device.
  (await openTestGpu()).close();
  folder = await mkdtemp(join(tmpdir(), 'compressa-schemas-'));
});
beforeEach(() => {
  printed = '';
  vi.spyOn(console, 'error').mockImplementation(() => undefined);
  vi.spyOn(process.stdout, 'write').mockImplementation((text, ...rest) => {
    printed += text;
    for (const callback of rest) if (typeof callback === 'function') callback();
    return true;
  });
});
afterEach(() => {
  vi.restoreAllMocks();
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test.each<[string, v.GenericSchema, () => string[]]>([
  ['compress', CompressOutputSchema, () => ['compress', SAMPLE, '-o', join(folder, 'out')]],
  ['compress --dry-run', CompressOutputSchema, () => ['compress', SAMPLE, '-o', join(folder, 'none'), '--dry-run']],
  ['inspect', InspectOutputSchema, () => ['inspect', SAMPLE, '--histogram', 'model.norm.*']],
  [
    'inspect, spectra',
    InspectOutputSchema,
    () => [
      ...[
        'inspect',
        SAMPLE,
        '--spectrum',
        '*.layers.0.self_attn.[kv]_proj*',
        '--calibration',
        `${SAMPLE}/calibration.txt`,
      ],
      ...['--windows', '2'],
    ],
  ],
  ['device', DeviceOutputSchema, () => ['device', '--no-measure']],
  ['device, measured', DeviceOutputSchema, () => ['device']],
  ['run', RunOutputSchema, () => ['run', SAMPLE, '--prompt', 'My', '--max-tokens', '2']],
])('what %s prints as JSON matches its schema', async (_, schema, args) => {
  const program = new Command();
  for (const register of [registerCompress, registerDevice, registerInspect, registerRun]) register(program);
  await program.parseAsync([...args(), '--json'], { from: 'user' });
  const document: unknown = JSON.parse(printed);
  expect(v.safeParse(schema, document).issues).toBeUndefined();
  expect(document).toMatchObject({ version: 1 });
});
