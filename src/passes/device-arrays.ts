import type { Format, HostArrays } from '../formats/format.ts';
import { arrayBytes } from '../formats/layout.ts';
import type { Gpu } from '../gpu/gpu.ts';
import type { BufferView } from '../gpu/kernel.ts';

/** Room on the device for the arrays of some rows in a format, all in one buffer, so that they come back in one read. */
export interface DeviceRows {
  /** In the order of `format.arrays`. */
  readonly arrays: readonly BufferView[];
  /** Four bytes, zeroed: where kernels report a weight that is not finite. */
  readonly bad: BufferView;
  /**
   * Everything, each array padded to a word, and the report.
   * @throws OutOfMemoryError, DeviceLostError
   */
  read(): Promise<{ readonly arrays: HostArrays; readonly bad: number }>;
  release(): void;
}

/** @throws OutOfMemoryError */
export function allocateRows(gpu: Gpu, format: Format, rows: number, k: number, label: string): DeviceRows {
  const alignment = gpu.limits.minStorageBufferOffsetAlignment;
  const align = (offset: number) => Math.ceil(offset / alignment) * alignment;
  // The report first, then each array where a binding may start.
  let end = align(4);
  const places = format.arrays.map((array) => {
    const place = { offset: end, size: arrayBytes(array, rows, k) };
    end = align(place.offset + place.size);
    return place;
  });
  const buffer = gpu.memory.allocate(end, label);
  gpu.upload(buffer, new Uint8Array(4));
  return {
    arrays: places.map((place) => ({ buffer, ...place })),
    bad: { buffer, offset: 0, size: 4 },
    async read() {
      const all = await gpu.readBack(buffer, 0, end);
      const arrays: HostArrays = {};
      for (const [i, { name }] of format.arrays.entries()) {
        const { offset, size } = places[i]!;
        arrays[name] = all.subarray(offset, offset + size);
      }
      return { arrays, bad: new DataView(all.buffer).getUint32(0, true) };
    },
    release: () => gpu.memory.release(buffer),
  };
}
