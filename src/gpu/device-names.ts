import type { Gpu } from './gpu.ts';

/** What a device and its driver are called. */
export interface DeviceNames {
  readonly name: string;
  /** Null where it is not told. */
  readonly driver: string | null;
}

/**
 * Names of the GPU and of its driver. Dawn in Node has the GPU as `device` and the driver as `description`; Chrome has a number as `device`, the GPU as
 * `description`, and the driver under a name of its own. Without a flag it says neither.
 */
export function deviceNames({
  description: told,
  device: { adapterInfo },
}: Pick<Gpu, 'description' | 'device'>): DeviceNames {
  const { vendor, architecture, device, description } = told;
  if (device !== '' && !/^0x[0-9a-f]+$/i.test(device)) return { name: device, driver: description || null };
  const { driver } = (adapterInfo ?? {}) as { driver?: string };
  return { name: description || `${vendor} ${architecture} ${device}`.trim() || 'unnamed', driver: driver || null };
}
