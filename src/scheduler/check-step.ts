import { ArgumentError, OutOfMemoryError } from '../errors.ts';
import type { Step } from '../gpu/kernel.ts';

type Limits = Pick<
  GPUSupportedLimits,
  'maxStorageBufferBindingSize' | 'minStorageBufferOffsetAlignment' | 'maxComputeWorkgroupsPerDimension'
>;

/**
 * Holds a step to what the device binds and launches: of a caller's buffers and sizes the device itself would say it in its own words, or, where recorded
 * steps are submitted, not at all.
 * @throws ArgumentError, OutOfMemoryError
 */
export function checkStep(limits: Limits, { label, bindings, weight = [], grid }: Step): void {
  const { maxStorageBufferBindingSize: most, minStorageBufferOffsetAlignment: apart } = limits;
  const nameOf = (buffer: GPUBuffer) => `${label}: ${buffer.label ? `"${buffer.label}"` : 'a buffer'}`;
  for (const { buffer, offset = 0, size = buffer.size - offset } of [...bindings, ...weight]) {
    if (size > most) {
      throw new OutOfMemoryError(
        `${nameOf(buffer)} is needed with ${size} bytes at once; this device binds ${most}. Take less at a time: fewer tokens, or a matrix in several buffers (allocateWeight).`,
      );
    }
    if (offset % apart !== 0) {
      throw new ArgumentError(
        `${nameOf(buffer)} is needed from byte ${offset} on; this device takes multiples of ${apart}. Copy it to such a place.`,
      );
    }
  }
  const groups = limits.maxComputeWorkgroupsPerDimension;
  if (grid.some((count) => count > groups)) {
    throw new ArgumentError(
      `${label}: ${grid.join(' x ')} workgroups are more than this device launches, which is ${groups} each.`,
    );
  }
}
