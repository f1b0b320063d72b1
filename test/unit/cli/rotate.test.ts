import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import { afterEach, expect, test, vi } from 'vitest';
import { registerCompress } from '../../../src/cli/compress.ts';

const SAMPLE = fileURLToPath(new URL('../../../models/union-7m', import.meta.url));
const OUT = join(tmpdir(), 'compressa-never-written');

afterEach(() => {
  vi.restoreAllMocks();
});

/** What a dry run of `compress` prints. */
async function planned(...options: string[]): Promise<string> {
  let printed = '';
  vi.spyOn(console, 'error').mockImplementation(() => undefined);
  vi.spyOn(process.stdout, 'write').mockImplementation((text, ...rest) => {
    printed += String(text);
    for (const callback of rest) if (typeof callback === 'function') callback();
    return true;
  });
  const program = new Command();
  registerCompress(program);
  await program.parseAsync(['compress', SAMPLE, '-o', OUT, '--dry-run', ...options], { from: 'user' });
  return printed;
}

test.each([['--rotate'], ['--rotate', '0'], ['--rotate-inner'], ['--rotate', '4294967295', '--rotate-inner']])(
  '%s %s is planned: the head becomes a matrix of its own',
  async (...options) => {
    const { tensors, bytesBefore } = JSON.parse(await planned('--json', ...options));
    const head = tensors.find(({ role }: { role: string }) => role === 'head');
    expect(head).toEqual({
      name: 'lm_head.weight',
      shape: [4096, 256],
      role: 'head',
      format: 'f16',
      bytesBefore: 0,
      bytesAfter: 2 * 4096 * 256,
    });
    expect(bytesBefore).toBe(JSON.parse(await planned('--json')).bytesBefore);
  },
);

test.each([
  [['--rotate', 'x'], /--rotate: x is no seed/],
  [['--rotate', '4294967296'], /is no seed; give a whole number from 0 to 4294967295/],
  [['--rotate', '--recipe', 'recipe.json'], /a recipe has a key "rotation"/],
])('%s is refused', async (options, message) => {
  await expect(planned(...options)).rejects.toThrow(message);
});
