import { spawn } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { constants, homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { NoDeviceError } from '../errors.ts';
import { type Environment, unpackChromiumPackage } from './chromium-package.ts';

/** Set in the re-executed child, so that it never starts another. */
const MARK = 'COMPRESSA_SOFTWARE_VULKAN';
const LOADER = 'libvulkan.so.1';
const DRIVER = 'libvk_swiftshader.so';
const ICD = 'compressa_swiftshader_icd.json';

/** Where the Vulkan loader looks for drivers on Linux. */
export function driverFolders(env: Environment): string[] {
  const home = env.HOME ?? homedir();
  const list = (value: string | undefined, fallback: string) => (value || fallback).split(delimiter).filter(Boolean);
  return [
    env.XDG_CONFIG_HOME || join(home, '.config'),
    ...list(env.XDG_CONFIG_DIRS, '/etc/xdg'),
    '/etc',
    env.XDG_DATA_HOME || join(home, '.local/share'),
    ...list(env.XDG_DATA_DIRS, '/usr/local/share:/usr/share'),
    '/usr/local/etc',
    '/usr/local/share',
    '/usr/share',
  ].map((folder) => join(folder, 'vulkan/icd.d'));
}

/** Where the dynamic loader of Linux looks for libraries. */
export function libraryFolders(env: Environment): string[] {
  const own = (env.LD_LIBRARY_PATH ?? '').split(delimiter).filter(Boolean);
  const multiarch = ['x86_64-linux-gnu', 'aarch64-linux-gnu'].flatMap((triplet) => [
    `/usr/lib/${triplet}`,
    `/lib/${triplet}`,
  ]);
  return [...own, ...multiarch, '/usr/lib64', '/lib64', '/usr/lib', '/lib', '/usr/local/lib', '/usr/local/lib64'];
}

/** What the choice depends on; tests bring their own. */
export interface Machine {
  readonly platform: string;
  readonly env: Environment;
  /** File names in a folder; none if it is missing. */
  readonly list: (folder: string) => readonly string[];
  readonly exists: (path: string) => boolean;
}

const thisMachine: Machine = {
  platform: process.platform,
  env: process.env,
  list: (folder) => {
    try {
      return readdirSync(folder);
    } catch {
      return [];
    }
  },
  exists: existsSync,
};

/**
 * Why this machine has no Vulkan, or undefined where it has some, or is not ours to judge.
 * @throws NoDeviceError where a variable names drivers of which none is there
 */
export function missingVulkan(machine: Machine = thisMachine): string | undefined {
  const { platform, env } = machine;
  if (platform !== 'linux' || env[MARK]) return undefined;
  for (const variable of ['VK_DRIVER_FILES', 'VK_ICD_FILENAMES']) {
    // The loader reads the first of the two that is set.
    const named = env[variable]?.split(delimiter).filter(Boolean) ?? [];
    if (named.length === 0) continue;
    if (named.some(machine.exists)) return undefined;
    throw new NoDeviceError(`${variable} names no file that is there (${named.join(', ')}). Correct it, or unset it.`);
  }
  if (!libraryFolders(env).some((folder) => machine.exists(join(folder, LOADER)))) {
    return `no Vulkan loader (${LOADER}) is installed`;
  }
  const hasDriver = driverFolders(env).some((folder) => machine.list(folder).some((name) => name.endsWith('.json')));
  return hasDriver || env.VK_ADD_DRIVER_FILES ? undefined : 'no Vulkan driver is installed';
}

/**
 * Unpacks SwiftShader and its Vulkan loader, which ship inside the npm package `@sparticuz/chromium`, and returns the
 * environment that makes Dawn use them.
 * @throws NoDeviceError when the package is not installed or does not hold what it should.
 */
export async function swiftShaderEnvironment(env: Environment = process.env): Promise<Record<string, string>> {
  let folder: string;
  try {
    folder = await unpackChromiumPackage({
      name: 'swiftshader',
      archives: [{ archive: 'swiftshader.tar.br', files: [LOADER, DRIVER] }],
      extra: (at) => {
        const driver = { library_path: join(at, DRIVER), api_version: '1.1.0' };
        return { [ICD]: JSON.stringify({ file_format_version: '1.0.0', ICD: driver }, undefined, 2) };
      },
      env,
    });
  } catch (cause) {
    if (!(cause instanceof NoDeviceError)) throw cause;
    throw new NoDeviceError(
      `There is no software Vulkan driver either: ${cause.message} Or install a driver, for instance mesa-vulkan-drivers.`,
      { cause },
    );
  }
  const icd = join(folder, ICD);
  const libraries = [folder, env.LD_LIBRARY_PATH].filter(Boolean).join(delimiter);
  return { LD_LIBRARY_PATH: libraries, VK_DRIVER_FILES: icd, VK_ICD_FILENAMES: icd, [MARK]: '1' };
}

/** Runs a command with more environment, our streams and our signals; resolves to its exit code. */
export function runWith(command: string, args: readonly string[], more: Record<string, string>): Promise<number> {
  const child = spawn(command, args, { stdio: 'inherit', env: { ...process.env, ...more } });
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  const forwards = signals.map((signal) => {
    // A terminal sends Ctrl-C to the whole group; a second one would make the child give up at once.
    const forward = () => (signal === 'SIGINT' && process.stdin.isTTY ? undefined : child.kill(signal));
    process.on(signal, forward);
    return [signal, forward] as const;
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', (code, signal) => {
      for (const [name, forward] of forwards) process.off(name, forward);
      resolve(code ?? 128 + (signal ? constants.signals[signal] : 0));
    });
  });
}

/**
 * On Linux without Vulkan: runs this very command again on SwiftShader and resolves to its exit code. Elsewhere, and in
 * that child, resolves to undefined: go on.
 * @throws NoDeviceError when there is no software driver either.
 */
export async function rerunOnSoftwareVulkan(): Promise<number | undefined> {
  const reason = missingVulkan();
  if (!reason) return undefined;
  const more = await swiftShaderEnvironment();
  console.error(
    `Notice: ${reason}; using SwiftShader, which computes on the CPU and is slow. Install a Vulkan driver for a real GPU.`,
  );
  return runWith(process.execPath, [...process.execArgv, ...process.argv.slice(1)], more);
}
