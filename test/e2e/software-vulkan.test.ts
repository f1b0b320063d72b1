import { describe, expect, it } from 'vitest';
import { driverFolders, type Machine, missingVulkan } from '../../src/cli/software-vulkan.ts';

const machine = (given: Partial<Machine> & { files?: readonly string[]; drivers?: readonly string[] }): Machine => ({
  platform: given.platform ?? 'linux',
  env: { HOME: '/home/someone', ...given.env },
  list: (folder) =>
    (given.drivers ?? []).filter((path) => path.startsWith(`${folder}/`)).map((path) => path.slice(folder.length + 1)),
  exists: (path) => (given.files ?? []).includes(path),
});
const LOADER = '/usr/lib/x86_64-linux-gnu/libvulkan.so.1';

describe('the choice of the software driver', () => {
  it('leaves a machine with loader and driver alone, wherever the driver is registered', () => {
    for (const folder of driverFolders({ HOME: '/home/someone' })) {
      expect(missingVulkan(machine({ files: [LOADER], drivers: [`${folder}/some_icd.json`] }))).toBeUndefined();
    }
    expect(
      missingVulkan(machine({ env: { XDG_DATA_DIRS: '/a:/b' }, files: [LOADER], drivers: ['/b/vulkan/icd.d/x.json'] })),
    ).toBeUndefined();
  });

  it('steps in where the driver or the loader is missing', () => {
    expect(missingVulkan(machine({ files: [LOADER] }))).toMatch(/driver/);
    expect(missingVulkan(machine({ files: [LOADER], drivers: ['/usr/share/vulkan/icd.d/README'] }))).toMatch(/driver/);
    expect(missingVulkan(machine({ drivers: ['/usr/share/vulkan/icd.d/x.json'] }))).toMatch(/loader/);
  });

  it('names a variable whose drivers are not there', () => {
    expect(() => missingVulkan(machine({ env: { VK_DRIVER_FILES: '/a.json:/b.json' }, files: [LOADER] }))).toThrow(
      /VK_DRIVER_FILES names no file that is there \(\/a.json, \/b.json\)/,
    );
  });

  it('never overrules the user, another system, or its own child', () => {
    expect(missingVulkan(machine({ env: { VK_DRIVER_FILES: '/x.json' }, files: ['/x.json'] }))).toBeUndefined();
    expect(
      missingVulkan(machine({ env: { VK_ICD_FILENAMES: '/gone.json:/x.json' }, files: ['/x.json'] })),
    ).toBeUndefined();
    expect(missingVulkan(machine({ env: { COMPRESSA_SOFTWARE_VULKAN: '1' } }))).toBeUndefined();
    expect(missingVulkan(machine({ platform: 'darwin' }))).toBeUndefined();
    expect(missingVulkan(machine({ platform: 'win32' }))).toBeUndefined();
  });
});
