import { ArgumentError } from '../errors.ts';
import type { Format } from '../formats/format.ts';
import { arrayBytes } from '../formats/layout.ts';
import type { Binding, BufferView } from '../gpu/kernel.ts';

/** The arrays of a weight on the device, in the order of `format.arrays`. */
export type DeviceArrays = readonly BufferView[];

/**
 * Bindings of exactly the size of each array, so that no kernel can reach what lies beyond in a pooled buffer.
 * @throws ArgumentError naming `label` where arrays are missing or too small
 */
export function bindArrays(
  label: string,
  format: Format,
  views: DeviceArrays,
  rows: number,
  k: number,
  bind: (view: BufferView) => Binding,
): Binding[] {
  if (views.length !== format.arrays.length) {
    const names = format.arrays.map((array) => array.name).join(', ');
    throw new ArgumentError(
      `${label}: ${format.name} takes ${format.arrays.length} buffers (${names}), got ${views.length}.`,
    );
  }
  return format.arrays.map((array, i) => bindArray(label, array.name, views[i]!, arrayBytes(array, rows, k), bind));
}

/** The same for one array of `wanted` bytes, called `name` in errors. */
export function bindArray(
  label: string,
  name: string,
  view: BufferView,
  wanted: number,
  bind: (view: BufferView) => Binding,
): Binding {
  if (!view.buffer) {
    throw new ArgumentError(`${label}: "${name}" is no view of a GPUBuffer: give { buffer, offset?, size? }.`);
  }
  const { buffer, offset = 0, size = buffer.size - offset } = view;
  if (size < wanted) throw new ArgumentError(`${label}: "${name}" needs ${wanted} bytes, its buffer has ${size}.`);
  return bind({ buffer, offset, size: wanted });
}
