import { ArgumentError, NoDeviceError } from '../errors.ts';
import { suggest } from '../suggest.ts';
import { type DebugLevel, Gpu, type GpuDescription } from './gpu.ts';
import { matrixSides, SUBGROUP_MATRIX } from './matrix-sides.ts';
import { type ProviderOptions, provideGpu } from './provider.ts';
import { runSelfTest } from './self-test.ts';

/** How to open a GPU, and how much of it to use. */
export interface OpenGpuOptions extends ProviderOptions {
  /** A device that the caller opened and keeps: we never destroy it. */
  readonly device?: GPUDevice;
  /** Most bytes of GPU memory to hold at a time. */
  readonly memoryBudget?: number;
  /** Splits tensors at fewer bytes than the device's own binding limit. */
  readonly bindingLimit?: number;
  readonly powerPreference?: GPUPowerPreference;
  /** `core` opens the device with WebGPU's default limits and no optional feature, to see how the rest fares. */
  readonly capabilities?: 'adapter' | 'core';
  /** Default: the environment variable COMPRESSA_DEBUG, else 0. */
  readonly debug?: DebugLevel;
}

/** Each option once, so that a misspelled one is told apart. */
const OPTIONS: Readonly<Record<keyof OpenGpuOptions, true>> = {
  adapter: true,
  device: true,
  memoryBudget: true,
  bindingLimit: true,
  powerPreference: true,
  capabilities: true,
  debug: true,
};

/** The optional features that some kernel uses. */
const WANTED_FEATURES: readonly string[] = ['shader-f16', 'subgroups', 'timestamp-query', SUBGROUP_MATRIX];

/** The limits that decide how large tensors and workgroups may be. */
const WANTED_LIMITS = [
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxStorageBuffersPerShaderStage',
  'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupSizeX',
] as const;

/**
 * Opens a GPU in a browser or, through the package `webgpu`, in Node, and tests its arithmetic.
 * @throws NoDeviceError when there is no WebGPU, no adapter, or only a null backend; SelfTestError when it computes wrongly;
 * ArgumentError for options that there are not, or a device that is none.
 */
export async function openGpu(options: OpenGpuOptions = {}): Promise<Gpu> {
  checkOptions(options);
  const debug = options.debug ?? debugFromEnvironment();
  const { memoryBudget, bindingLimit } = options;
  const settings = {
    debug,
    ...(memoryBudget !== undefined && { memoryBudget }),
    ...(bindingLimit !== undefined && { bindingLimit }),
  };
  const gpu = options.device
    ? new Gpu(options.device, describe(options.device.adapterInfo), {
        ...settings,
        ownsDevice: false,
        matrixSides: matrixSides(options.device, options.device.adapterInfo),
      })
    : await openOwn(options, settings);
  try {
    gpu.selfTest = await runSelfTest(gpu);
  } catch (error) {
    gpu.close();
    throw error;
  }
  return gpu;
}

function checkOptions(options: OpenGpuOptions): void {
  const names = Object.keys(OPTIONS);
  const unknown = Object.keys(options).find((name) => !names.includes(name));
  if (unknown !== undefined) {
    throw new ArgumentError(
      `openGpu has no option "${unknown}".${suggest(unknown, names)} There are: ${names.join(', ')}.`,
    );
  }
  const { device } = options as { device?: Partial<GPUDevice> | null };
  if (device !== undefined && !(device?.limits && device.queue && device.createBuffer)) {
    throw new ArgumentError(
      'The device is no GPUDevice. Give what adapter.requestDevice() resolves to, or none to have one opened.',
    );
  }
}

async function openOwn(
  options: OpenGpuOptions,
  settings: { debug: DebugLevel; memoryBudget?: number; bindingLimit?: number },
): Promise<Gpu> {
  const provider = await provideGpu(options);
  let adapter: GPUAdapter | null;
  try {
    adapter = await provider.requestAdapter(
      options.powerPreference ? { powerPreference: options.powerPreference } : {},
    );
  } catch (cause) {
    throw new NoDeviceError(
      `No adapter${options.adapter ? ` named "${options.adapter}"` : ''}: ${cause instanceof Error ? cause.message : cause}`,
      { cause },
    );
  }
  if (!adapter) {
    throw new NoDeviceError(
      'WebGPU found no adapter. Install a Vulkan driver (on Linux for instance mesa-vulkan-drivers), or update the browser.',
    );
  }
  const info = adapter.info;
  if (/null/i.test(`${info.device} ${info.architecture}`) && !info.vendor) {
    throw new NoDeviceError(
      'WebGPU offers only its null backend, which computes nothing. Install a Vulkan, Metal or D3D12 driver.',
    );
  }
  const core = options.capabilities === 'core';
  const requiredLimits: Record<string, number> = {};
  if (!core) for (const limit of WANTED_LIMITS) requiredLimits[limit] = adapter.limits[limit];
  const device = await adapter.requestDevice({
    label: 'compressa',
    requiredLimits,
    requiredFeatures: (core
      ? []
      : WANTED_FEATURES.filter((feature) => adapter.features.has(feature))) as GPUFeatureName[],
  });
  return new Gpu(device, describe(info), { ...settings, ownsDevice: true, matrixSides: matrixSides(device, info) });
}

function describe(info: GPUAdapterInfo | undefined): GpuDescription {
  return {
    vendor: info?.vendor ?? '',
    architecture: info?.architecture ?? '',
    device: info?.device ?? '',
    description: info?.description ?? '',
    software: info?.isFallbackAdapter ?? false,
  };
}

function debugFromEnvironment(): DebugLevel {
  const { process } = globalThis as { process?: { env?: Record<string, string | undefined> } };
  const level = Number(process?.env?.COMPRESSA_DEBUG ?? 0);
  return level >= 3 ? 3 : level >= 2 ? 2 : level >= 1 ? 1 : 0;
}
