import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, openSync } from 'node:fs';
import { CommanderError } from 'commander';
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { reportError } from '../../src/cli/exit-codes.ts';
import { CancelledError, FormatError, GpuValidationError, NoDeviceError } from '../../src/errors.ts';

const MAIN = 'dist/cli/main.js';

function compressa(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...args], { encoding: 'utf8' });
  return { status, stdout, stderr };
}

describe('exit codes', () => {
  afterEach(() => {
    vi.restoreAllMocks();
  });

  it('follow from the error, whose message and code reach standard error', () => {
    const said = vi.spyOn(console, 'error').mockImplementation(() => undefined);
    const { signal } = new AbortController();
    expect(reportError(new CommanderError(0, 'commander.help', ''), signal)).toBe(0);
    expect(reportError(new CommanderError(1, 'commander.unknownOption', ''), signal)).toBe(2);
    expect(reportError(new FormatError('no such format'), signal)).toBe(2);
    expect(said).toHaveBeenLastCalledWith('error FORMAT: no such format');
    expect(reportError(new NoDeviceError('none'), signal)).toBe(3);
    expect(reportError(new CancelledError(), signal)).toBe(130);
    expect(reportError(new GpuValidationError('ours'), signal)).toBe(70);
    expect(reportError(new TypeError('ours'), signal)).toBe(70);
    const abort = new DOMException('stopped', 'AbortError');
    expect(reportError(abort, signal)).toBe(70);
    expect(reportError(abort, AbortSignal.abort())).toBe(130);
  });
});

describe('the built command', () => {
  beforeAll(() => {
    if (!existsSync(MAIN)) throw new Error(`${MAIN} is missing: run npm run build first.`);
  });

  it('prints help with the exit codes, and its version', () => {
    const help = compressa('--help');
    expect(help.status).toBe(0);
    expect(help.stdout).toMatch(/Exit codes:[\s\S]*130 {2}cancelled/);
    expect(compressa('--version')).toMatchObject({ status: 0, stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/) });
  });

  it('answers wrong usage with 2 and a suggestion', () => {
    expect(compressa('devise')).toMatchObject({ status: 2, stdout: '', stderr: expect.stringContaining('device') });
    expect(compressa('device', '--nonsense').status).toBe(2);
  });

  it('says what is wrong with the value of an option', () => {
    const { status, stdout, stderr } = compressa('prune', 'none', '-o', 'none', '--pattern', 'ffn', '--keep', '70%');
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    expect(stderr).toMatch(/--keep .*'70%' is invalid.* Give a share between 0 and 1/);
  });

  it('answers an adapter that is not there with 3', () => {
    const { status, stdout, stderr } = compressa('device', '--adapter', 'no such adapter');
    expect({ status, stdout }).toEqual({ status: 3, stdout: '' });
    expect(stderr).toMatch(/error NO_DEVICE: .*no such adapter/);
  });

  it('prints one JSON document and nothing else on standard output', () => {
    const { status, stdout } = compressa('device', '--json', '--no-measure');
    expect(status).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ version: 1, device: { limits: {}, selfTest: {} } });
  });

  it('names the GPU and its driver apart', () => {
    const { status, stdout } = compressa('device', '--no-measure');
    expect(status).toBe(0);
    const { device, description } = JSON.parse(compressa('device', '--json', '--no-measure').stdout).device;
    const rowOf = (row: string) => new RegExp(`^ +${row} +(.*)$`, 'm').exec(stdout)?.[1];
    expect(device).not.toBe('');
    expect(rowOf('name')).toBe(device);
    expect(rowOf('driver')).toBe(description);
  });

  it
    .runIf(process.platform === 'linux')
    .each([
      ['inspect', 'models/union-7m'],
      ['inspect', 'models/union-7m', '--json'],
      ['compress', 'models/union-7m', '-o', 'none', '--dry-run'],
      ['--help'],
      ['--version'],
    ])('answers a full standard output with 2: %s', (...args) => {
    const full = openSync('/dev/full', 'w');
    try {
      const { status, stderr } = spawnSync(process.execPath, [MAIN, ...args], {
        encoding: 'utf8',
        stdio: ['ignore', full, 'pipe'],
      });
      expect(stderr).toMatch(/^error FILE: standard output: the disk is full\..*\n$/);
      expect(status).toBe(2);
    } finally {
      closeSync(full);
    }
  });

  it('takes a closed pipe for the end of the work', async () => {
    const child = spawn(process.execPath, [MAIN, 'inspect', 'models/union-7m', '--json'], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    child.stdout.destroy();
    let stderr = '';
    child.stderr.on('data', (text) => {
      stderr += text;
    });
    const [code] = await once(child, 'close');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  });

  it('writes text without control characters to a standard error that is no terminal', () => {
    const { status, stderr } = compressa('run', 'models/union-7m', '--prompt', 'My', '--max-tokens', '2');
    expect(status).toBe(0);
    expect(stderr).toMatch(/2 new tokens/);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
    expect(stderr).not.toMatch(/[\x00-\x09\x0b-\x1f\x7f]/);
  });
});
