import { Command } from 'commander';
import { describe, expect, test } from 'vitest';
import { registerCompress } from '../../../src/cli/compress.ts';
import { registerDevice } from '../../../src/cli/device.ts';
import { gpuMemoryOption, usesGpu } from '../../../src/cli/gpu-options.ts';
import { registerInspect } from '../../../src/cli/inspect.ts';
import { registerRun } from '../../../src/cli/run.ts';
import { registerVerify } from '../../../src/cli/verify.ts';

const parsed = (size: string) =>
  new Command()
    .exitOverride()
    .configureOutput({ writeErr: () => undefined })
    .addOption(gpuMemoryOption())
    .parse(['--gpu-memory', size], { from: 'user' })
    .opts();

describe('--gpu-memory', () => {
  test.each([
    ['1', 1],
    ['1000000000', 1e9],
    ['256MB', 256e6],
    ['256 mb', 256e6],
    ['256M', 256e6],
    ['512KiB', 512 * 1024],
    ['1.5GiB', 1.5 * 2 ** 30],
    ['2tib', 2 * 2 ** 40],
    ['10B', 10],
  ])('%s are %d bytes', (size, gpuMemory) => {
    expect(parsed(size)).toEqual({ gpuMemory });
  });

  test.each(['', '0', '0.5', '-1', '1e9', 'much', '256XB', 'MB', '5iB', '1.GB', '99999999TB'])(
    '"%s" is refused, and what is accepted is said',
    (size) => {
      expect(() => parsed(size)).toThrow(/--gpu-memory.*is invalid.*256MB, 1\.5GiB, 1000000000/);
    },
  );

  test('belongs to every command that uses a GPU', () => {
    const program = new Command();
    for (const register of [registerCompress, registerDevice, registerInspect, registerRun, registerVerify]) {
      register(program);
    }
    const withIt = program.commands.filter(({ options }) => options.some(({ long }) => long === '--gpu-memory'));
    expect(withIt.map((command) => command.name())).toEqual(['compress', 'device', 'inspect', 'run', 'verify']);
    const inspect = withIt[2]!;
    expect(program.commands.filter(usesGpu)).toEqual(withIt.filter((command) => command !== inspect));
    inspect.setOptionValue('spectrum', '*');
    expect(program.commands.filter(usesGpu)).toEqual(withIt);
  });
});
