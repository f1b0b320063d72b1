import type { Gpu } from '../../src/gpu/gpu.ts';
import { openGpu } from '../../src/gpu/open-gpu.ts';
import { provideGpu } from '../../src/gpu/provider.ts';

/** The device for kernel tests; with COMPRESSA_TEST_CORE set, as bare as WebGPU allows. */
export async function openTestGpu(): Promise<Gpu> {
  // Dawn crashes once its entry object is collected: here it stays reachable, and openGpu finds it as in a browser.
  Object.defineProperty(globalThis, 'navigator', { value: { gpu: await provideGpu({}) }, configurable: true });
  return openGpu({ capabilities: process.env.COMPRESSA_TEST_CORE ? 'core' : 'adapter' });
}
