// Finds and opens a headless Chrome or Chromium with WebGPU, for tests and benchmarks.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import puppeteer, { type Browser } from 'puppeteer-core';
import { CHROMIUM_PACKAGE, type Environment, unpackChromiumPackage } from '../src/cli/chromium-package.ts';
import { libraryFolders } from '../src/cli/software-vulkan.ts';
import { NoDeviceError } from '../src/errors.ts';

/** Names the browser to use, before all others. */
export const BROWSER_VARIABLE = 'COMPRESSA_BROWSER';

export interface FoundBrowser {
  readonly path: string;
  /** How it was found, for messages. */
  readonly origin: string;
  /** What it needs besides our own environment. */
  readonly env: Readonly<Record<string, string>>;
  /** It can't show a window: a headless shell. */
  readonly shell: boolean;
}

/** What the search depends on; tests bring their own. */
export interface BrowserSearch {
  readonly platform: NodeJS.Platform;
  readonly env: Environment;
  readonly exists: (path: string) => boolean;
  /** Google Chrome where it puts itself, if it did. */
  readonly chrome: () => string | undefined;
  readonly shipped: () => Promise<FoundBrowser>;
}

const thisMachine: BrowserSearch = {
  platform: process.platform,
  env: process.env,
  exists: existsSync,
  chrome: () => {
    try {
      return puppeteer.executablePath('chrome');
    } catch {
      return undefined;
    }
  },
  shipped: shippedChromium,
};

/**
 * The browser that COMPRESSA_BROWSER names, else an installed Chrome or Chromium, else the Chromium in `@sparticuz/chromium`.
 * @throws NoDeviceError when there is none.
 */
export async function findBrowser(machine: BrowserSearch = thisMachine): Promise<FoundBrowser> {
  const { env, exists } = machine;
  const named = env[BROWSER_VARIABLE];
  if (named) {
    if (!exists(named)) throw new NoDeviceError(`${BROWSER_VARIABLE} names ${named}, which does not exist.`);
    return { path: named, origin: BROWSER_VARIABLE, env: {}, shell: /headless[-_]shell/.test(named) };
  }
  const installed = machine.chrome() ?? installedPaths(machine).find(exists);
  if (installed) return { path: installed, origin: 'installed', env: {}, shell: false };
  try {
    return await machine.shipped();
  } catch (cause) {
    if (!(cause instanceof NoDeviceError)) throw cause;
    throw new NoDeviceError(
      `No browser: ${BROWSER_VARIABLE} is not set, no Chrome or Chromium is installed, and of ${CHROMIUM_PACKAGE}: ` +
        `${cause.message} Install a browser, or set ${BROWSER_VARIABLE} to the path of one.`,
      { cause },
    );
  }
}

/** Where Chromium is, and Chrome where a distribution or a user put it. */
function installedPaths({ platform, env }: BrowserSearch): string[] {
  if (platform === 'darwin') {
    const apps = ['Google Chrome', 'Chromium'].map((name) => `Applications/${name}.app/Contents/MacOS/${name}`);
    return ['/', env.HOME].flatMap((root) => (root ? apps.map((app) => join(root, app)) : []));
  }
  if (platform === 'win32') {
    const roots = [env.LOCALAPPDATA, env.PROGRAMFILES, env['PROGRAMFILES(X86)']];
    const apps = ['Google\\Chrome', 'Chromium'].map((name) => `${name}\\Application\\chrome.exe`);
    return roots.flatMap((root) => (root ? apps.map((app) => `${root}\\${app}`) : []));
  }
  const names = ['google-chrome-stable', 'google-chrome', 'chromium', 'chromium-browser'];
  const folders = (env.PATH ?? '').split(delimiter).filter(Boolean);
  return names.flatMap((name) => folders.map((folder) => join(folder, name)));
}

const NSS = ['nspr4', 'nss3', 'nssutil3', 'plc4', 'plds4', 'softokn3', 'freebl3', 'freeblpriv3'];
const LIBRARIES = ['lib/libexpat.so.1', ...NSS.map((name) => `lib/lib${name}.so`)];

/** The Chromium of the package, with its SwiftShader, and the libraries that a bare machine lacks. */
async function shippedChromium(): Promise<FoundBrowser> {
  const folder = await unpackChromiumPackage({
    name: 'chromium',
    archives: [
      { archive: 'chromium.br', files: ['chromium'] },
      {
        archive: 'swiftshader.tar.br',
        files: ['libEGL.so', 'libGLESv2.so', 'libvk_swiftshader.so', 'libvulkan.so.1', 'vk_swiftshader_icd.json'],
      },
    ],
  });
  // Only where they are missing: the system's own are newer.
  const bare = ['libnss3.so', 'libexpat.so.1'].some(
    (library) => !libraryFolders(process.env).some((at) => existsSync(join(at, library))),
  );
  const libraries = bare
    ? await unpackChromiumPackage({
        name: 'chromium-libraries',
        archives: [{ archive: 'al2023.tar.br', files: LIBRARIES }],
      })
    : undefined;
  const path = [libraries, process.env.LD_LIBRARY_PATH].filter(Boolean).join(delimiter);
  return {
    path: join(folder, 'chromium'),
    origin: CHROMIUM_PACKAGE,
    env: path ? { LD_LIBRARY_PATH: path } : {},
    shell: true,
  };
}

/** WebGPU on the SwiftShader that Chromium brings: the same on every Linux machine, with or without a GPU. */
const SOFTWARE_GPU = [
  '--enable-unsafe-webgpu',
  '--use-webgpu-adapter=swiftshader',
  '--enable-features=Vulkan',
  '--use-vulkan=swiftshader',
  '--use-angle=swiftshader',
  '--disable-vulkan-surface',
];
/** On Linux Chrome still hides WebGPU on some hardware. */
const HARDWARE_GPU = ['--enable-unsafe-webgpu', '--enable-features=Vulkan', '--ignore-gpu-blocklist'];

export interface LaunchOptions {
  /** Default: `software` on Linux, where that is sure to be there; elsewhere `hardware`. */
  readonly gpu?: 'software' | 'hardware';
  /** Opens a window. */
  readonly headed?: boolean;
  /** More arguments for the browser, behind our own. */
  readonly flags?: readonly string[];
  /** Most milliseconds that the browser may take to start, and to answer a question. Default: a minute. */
  readonly timeout?: number;
}

/**
 * Opens a headless browser, which ends with this process at the latest.
 * @throws NoDeviceError where there is none, or it does not start.
 */
export async function launchBrowser(options: LaunchOptions = {}): Promise<Browser> {
  const { gpu = process.platform === 'linux' ? 'software' : 'hardware', timeout = 60_000 } = options;
  const { headed = false, flags = [] } = options;
  const found = await findBrowser();
  if (headed && found.shell) {
    throw new NoDeviceError(
      `${found.path} (${found.origin}) can't open a window. Set ${BROWSER_VARIABLE} to a whole Chrome.`,
    );
  }
  const env: Record<string, string | undefined> = { ...process.env, ...found.env };
  // They are meant for Dawn in Node, and would overrule the browser's own choice of a driver.
  if (gpu === 'software') for (const name of Object.keys(env)) if (name.startsWith('VK_')) delete env[name];
  // Only pages of our own are opened; root, and a browser without its helper program, have no sandbox on Linux.
  const sandboxed = process.platform !== 'linux' || (process.getuid?.() !== 0 && found.origin !== CHROMIUM_PACKAGE);
  try {
    return await puppeteer.launch({
      executablePath: found.path,
      headless: headed ? false : found.shell ? 'shell' : true,
      // Closing the pipe ends the browser, even where this process is killed. Signals are the caller's: puppeteer would exit at once.
      pipe: true,
      ...{ handleSIGINT: false, handleSIGTERM: false, handleSIGHUP: false },
      args: [...(gpu === 'software' ? SOFTWARE_GPU : HARDWARE_GPU), ...(sandboxed ? [] : ['--no-sandbox']), ...flags],
      env,
      timeout,
      protocolTimeout: timeout,
    });
  } catch (cause) {
    throw new NoDeviceError(
      `The browser ${found.path} (${found.origin}) did not start: ${cause instanceof Error ? cause.message : cause}. ` +
        `${complaint(found.path, env)}Set ${BROWSER_VARIABLE} to the path of another Chrome or Chromium.`,
      { cause },
    );
  }
}

/** What a browser that does not start says itself, such as which library it misses. */
function complaint(path: string, env: NodeJS.ProcessEnv): string {
  // There it would open a window.
  if (process.platform === 'win32') return '';
  const { stderr } = spawnSync(path, ['--version'], { env, encoding: 'utf8', timeout: 10_000 });
  return stderr ? `It says: ${stderr.trim().slice(-1000)}\n` : '';
}
