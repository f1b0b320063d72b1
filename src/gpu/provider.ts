import { NoDeviceError } from '../errors.ts';

/** Options of Dawn that only matter in Node; a browser has its own. */
export interface ProviderOptions {
  /** Part of the adapter's name; Node only. */
  readonly adapter?: string;
}

/** Dawn rounds timestamps to 100 µs unless told otherwise, which would hide short kernels from the profile. */
const DAWN_TOGGLES = ['enable-dawn-features=allow_unsafe_apis', 'disable-dawn-features=timestamp_quantization'];

/** Dawn crashes once its entry object is collected, so each stays for the life of the process. */
const entries = new Map<string, GPU>();

/** What the optional package `webgpu` exports. */
interface DawnModule {
  create(options: string[]): GPU;
  globals: Record<string, unknown>;
}

/**
 * The page's own `navigator.gpu`, or Dawn from the optional package `webgpu`.
 * @throws NoDeviceError when there is neither.
 */
export async function provideGpu(options: ProviderOptions): Promise<GPU> {
  const browserGpu = (globalThis.navigator as { gpu?: GPU } | undefined)?.gpu;
  if (browserGpu) return browserGpu;
  if (typeof document !== 'undefined') {
    throw new NoDeviceError(
      'This browser offers no WebGPU. Use a current Chrome, Edge, Safari or Firefox, over https or localhost.',
    );
  }
  const key = options.adapter ?? '';
  let entry = entries.get(key);
  if (!entry) entries.set(key, (entry = await openDawn(options)));
  return entry;
}

async function openDawn(options: ProviderOptions): Promise<GPU> {
  // A variable, so that bundlers for the browser do not look for the package.
  const specifier = 'webgpu';
  let dawn: DawnModule;
  try {
    dawn = (await import(/* @vite-ignore */ specifier)) as DawnModule;
  } catch (cause) {
    throw new NoDeviceError(
      'Node has no WebGPU of its own and the package "webgpu" could not be loaded. Run: npm install webgpu',
      { cause },
    );
  }
  for (const [name, value] of Object.entries(dawn.globals)) {
    if (!(name in globalThis)) Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
  }
  return dawn.create(options.adapter ? [...DAWN_TOGGLES, `adapter=${options.adapter}`] : DAWN_TOGGLES);
}
