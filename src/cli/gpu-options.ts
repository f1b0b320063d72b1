import { type Command, Option } from 'commander';
import type { Gpu } from '../gpu/gpu.ts';
import { openGpu } from '../gpu/open-gpu.ts';

/** A command with this option uses a GPU: it is what makes `main.ts` look for a Vulkan driver first. */
export const adapterOption = (): Option =>
  new Option('--adapter <name>', 'use the GPU adapter whose name contains this (default: the first one offered)');

export const usesGpu = (command: Command): boolean => command.options.some((option) => option.long === '--adapter');

export interface GpuOptions {
  readonly adapter?: string;
}

/** Opens the device of a command, lends it to `work` and closes it. */
export async function withGpu<T>(options: GpuOptions, work: (gpu: Gpu) => Promise<T>): Promise<T> {
  const gpu = await openGpu(options.adapter === undefined ? {} : { adapter: options.adapter });
  try {
    return await work(gpu);
  } finally {
    gpu.close();
  }
}
