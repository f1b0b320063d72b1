import { ArgumentError, NoDeviceError } from '../errors.ts';
import { type Format, isSparse } from '../formats/format.ts';
import type { Gpu } from '../gpu/gpu.ts';
import { suggest } from '../suggest.ts';

/**
 * How products of more than four tokens are summed. `f16`, for devices with `shader-f16`, multiplies in f16: where subgroups multiply matrices (`Gpu.matrixSides`) sums
 * stay in f32, elsewhere 32 columns at a time are summed in f16.
 */
export type Sums = 'f32' | 'f16';

const SUMS: readonly Sums[] = ['f32', 'f16'];

/** Loads, not sums, bound the products of so few. */
const FEW_TOKENS = 4;

/** @throws ArgumentError where there are none of that name, NoDeviceError where the device has none in f16 */
export function checkSums(gpu: Pick<Gpu, 'features'>, name: string): Sums {
  const sums = SUMS.find((one) => one === name);
  if (!sums) {
    throw new ArgumentError(`sums: there are none in "${name}".${suggest(name, SUMS)} There are: ${SUMS.join(', ')}.`);
  }
  if (sums === 'f16' && !gpu.features.has('shader-f16')) {
    throw new NoDeviceError('sums: this device does not compute in f16 (shader-f16). Take f32, which is the default.');
  }
  return sums;
}

/** Whether products are of f16: of many tokens, by weights that are neither packed nor of integers. */
export const sumsHalves = (sums: Sums, format: Format, tokens: number): boolean =>
  sums === 'f16' && tokens > FEW_TOKENS && !isSparse(format) && !format.activations;
