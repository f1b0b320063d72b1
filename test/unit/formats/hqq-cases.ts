import type { Format, HostArrays } from '../../../src/formats/format.ts';
import { integerName, integerParameters } from '../../../src/formats/integer-names.ts';
import { formatByName } from '../../../src/formats/registry.ts';
import { STORED_FLOATS } from '../../../src/formats/scale-type.ts';

/** Formats that the method `hqq` is for: float zero points, groups of at most 64. */
export const hqqFormats: readonly Format[] = integerParameters
  .filter(({ zero, group }) => zero === 'float' && group !== 'row' && group <= 64)
  .map((parameters) => formatByName(integerName(parameters)));

/** A weight of up to 255 steps is off by a 2^15th of a step from rounding a difference and a product to f32, which |.|^0.7 makes this much of. */
export const LOST_TO_ROUNDING = 2 ** (-15 * 0.7);

/** For each group Σ|residual|^0.7 in steps; of groups whose scale is zero, in units of their largest weight. */
export function lostSteps(format: Format, host: HostArrays, weights: Float32Array, rows: number, k: number): number[] {
  const values = format.reference.dequantize(host, rows, k);
  const stored = STORED_FLOATS[format.integer!.scale];
  const size = format.block;
  return Array.from({ length: weights.length / size }, (_, g) => {
    const part = weights.subarray(g * size, (g + 1) * size);
    const unit = stored.read(host.scales!, g) || part.reduce((m, w) => Math.max(m, Math.abs(w)), 0) || 1;
    return part.reduce((sum, w, i) => sum + Math.abs((w - values[g * size + i]!) / unit) ** 0.7, 0);
  });
}
