import { ArgumentError } from '../errors.ts';
import { type Binding, type BufferView, read, readWrite } from '../gpu/kernel.ts';
import { STATE_BYTES } from './state.ts';

function cut(label: string, name: string, view: BufferView, words: number): BufferView {
  if (!view?.buffer)
    throw new ArgumentError(`${label}: "${name}" is no view of a GPUBuffer: give { buffer, offset?, size? }.`);
  const { buffer, offset = 0, size = buffer.size - offset } = view;
  if (size < 4 * words)
    throw new ArgumentError(`${label}: "${name}" needs ${4 * words} bytes, its buffer has ${size}.`);
  return { buffer, offset, size: 4 * words };
}

/** A binding of exactly `words` 32-bit words: kernels cannot reach what lies beyond in a pooled buffer. */
export const reads = (label: string, name: string, view: BufferView, words: number): Binding =>
  read(cut(label, name, view, words));
export const writes = (label: string, name: string, view: BufferView, words: number): Binding =>
  readWrite(cut(label, name, view, words));
export const readsState = (label: string, view: BufferView): Binding => reads(label, 'state', view, STATE_BYTES / 4);

/** Throws unless all are whole numbers from 1 and their product can be indexed with 32 bits. */
export function checkSizes(label: string, sizes: Readonly<Record<string, number>>): void {
  let product = 1;
  for (const [name, size] of Object.entries(sizes)) {
    if (!Number.isInteger(size) || size < 1) throw new ArgumentError(`${label}: ${name} is ${size}.`);
    product *= size;
  }
  if (product > 2 ** 32 - 1024) throw new ArgumentError(`${label}: ${product} elements are too many for one step.`);
}
