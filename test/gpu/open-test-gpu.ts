import { Gpu } from '../../src/gpu/gpu.ts';
import { provideGpu } from '../../src/gpu/provider.ts';

/** A device for kernel tests: whatever adapter the machine offers first. */
export async function openTestGpu(): Promise<Gpu> {
  const entry = await provideGpu({});
  // Dawn dies when its entry object is collected.
  (globalThis as { keptGpu?: GPU }).keptGpu = entry;
  const adapter = (await entry.requestAdapter())!;
  const device = await adapter.requestDevice({ requiredFeatures: ['timestamp-query'] });
  return new Gpu(
    device,
    { vendor: '', architecture: '', device: '', description: '', software: true },
    { ownsDevice: true },
  );
}
