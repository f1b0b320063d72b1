import type { Gpu } from '../../src/gpu/gpu.ts';
import { openGpu } from '../../src/gpu/open-gpu.ts';

/** The device for kernel tests; with COMPRESSA_TEST_CAPABILITIES=core, as bare as WebGPU allows. */
export function openTestGpu(): Promise<Gpu> {
  return openGpu({ capabilities: process.env.COMPRESSA_TEST_CAPABILITIES === 'core' ? 'core' : 'adapter' });
}
