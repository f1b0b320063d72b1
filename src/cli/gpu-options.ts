import { type Command, InvalidArgumentError, Option } from 'commander';
import type { Gpu } from '../gpu/gpu.ts';
import { openGpu } from '../gpu/open-gpu.ts';

/** A command with this option uses a GPU: it is what makes `main.ts` look for a Vulkan driver first. */
export const adapterOption = (): Option =>
  new Option('--adapter <name>', 'use the GPU adapter whose name contains this (default: the first one offered)');

/** Every command that uses a GPU takes this, too. */
export const gpuMemoryOption = (): Option =>
  new Option(
    '--gpu-memory <size>',
    'most GPU memory to hold at a time, such as 256MB or 1.5GiB (default: as much as it takes)',
  ).argParser(parseSize);

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'KiB', 'MiB', 'GiB', 'TiB'];

/** Bytes: a number with one of `UNITS`, in any case, or without. */
export function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?) ?(?:([kmgt])(i?))?b?$/i.exec(text.trim());
  const power = 'kmgt'.indexOf(match?.[2]?.toLowerCase() ?? '') + (match?.[2] ? 1 : 0);
  const bytes = match ? Math.floor(Number(match[1]) * (match[3] ? 1024 : 1000) ** power) : 0;
  if (bytes >= 1 && Number.isSafeInteger(bytes)) return bytes;
  throw new InvalidArgumentError(
    `Give bytes as a number above 0, alone or with one of ${UNITS.join(', ')}: 256MB, 1.5GiB, 1000000000.`,
  );
}

export const usesGpu = (command: Command): boolean =>
  command.options.some(({ long }) => long === '--adapter') &&
  // For its spectra only.
  (command.name() !== 'inspect' || command.opts().spectrum !== undefined);

export interface GpuOptions {
  readonly adapter?: string;
  /** Bytes. */
  readonly gpuMemory?: number;
}

/** Opens the device of a command, lends it to `work` and closes it. */
export async function withGpu<T>(options: GpuOptions, work: (gpu: Gpu) => Promise<T>): Promise<T> {
  const { adapter, gpuMemory } = options;
  const gpu = await openGpu({
    ...(adapter !== undefined && { adapter }),
    ...(gpuMemory !== undefined && { memoryBudget: gpuMemory }),
  });
  try {
    return await work(gpu);
  } finally {
    gpu.close();
  }
}
