import { expect, test } from 'vitest';
import { deviceNames } from '../../../src/gpu/device-names.ts';
import type { Gpu } from '../../../src/gpu/gpu.ts';

const named = (told: Partial<Gpu['description']>, driver?: string) =>
  deviceNames({
    description: { vendor: 'nvidia', architecture: 'hopper', device: '', description: '', software: false, ...told },
    device: { adapterInfo: { driver } } as unknown as GPUDevice,
  });

test('the GPU and its driver are told apart, as Node and as a browser name them', () => {
  expect(named({ device: 'nvidia-h200', description: 'NVIDIA: 550.90.07' })).toEqual({
    name: 'nvidia-h200',
    driver: 'NVIDIA: 550.90.07',
  });
  expect(named({ device: '0x2335', description: 'NVIDIA H200' }, 'Vulkan 550.90.07')).toEqual({
    name: 'NVIDIA H200',
    driver: 'Vulkan 550.90.07',
  });
  expect(named({})).toEqual({ name: 'nvidia hopper', driver: null });
  expect(named({ vendor: '', architecture: '' })).toEqual({ name: 'unnamed', driver: null });
});
