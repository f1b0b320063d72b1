import { ArgumentError } from '../errors.ts';
import type { Format } from '../formats/format.ts';
import { shaderConstants } from '../formats/layout.ts';
import { type Binding, type BufferView, type Kernel, read, type Step } from '../gpu/kernel.ts';
import type { ShaderSource } from '../gpu/shader-source.ts';
import { bindArrays } from './bind-arrays.ts';
import { checkSizes, reads, writes } from './exact.ts';

/** A dense matrix whose weights are ranked: by |w| or, with factors, by |w| · factor of the column. */
export interface Keys {
  /** `f32`, `f16` or `bf16`. */
  readonly source: Format;
  /** [rows, k], row-major. */
  readonly from: BufferView;
  readonly rows: number;
  readonly k: number;
  /** f32 [k], finite and not negative. */
  readonly factors?: BufferView;
  /** u32, zero before: becomes the complement of the index of the first weight that is not finite (`throwIfNonFinite`). */
  readonly bad: BufferView;
}

/** @throws ArgumentError */
export function checkKeys(label: string, { source, rows, k }: Keys): void {
  checkSizes(label, { rows, k });
  if (source.kind !== 'dense') throw new ArgumentError(`${label}: only dense weights are ranked, not ${source.name}.`);
}

/** The kernel for rows that are a multiple of 4, or for any. */
export const keyKernel = (
  { source, k, factors }: Keys,
  aligned: ShaderSource,
  any: ShaderSource,
  constants: Readonly<Record<string, number>> = {},
): Kernel => ({
  source: k % 4 === 0 ? aligned : any,
  format: source.shader,
  constants: { ...shaderConstants(source, k), ...constants, WEIGHTED: Number(factors !== undefined) },
});

/** Bind groups of a kernel over `prune/keys.wgsl`. */
export function keyBindings(
  label: string,
  { source, from, rows, k, factors, bad }: Keys,
  bindings: readonly Binding[],
): Pick<Step, 'bindings' | 'weight'> {
  return {
    // Without factors their binding is never read: any buffer that is only read will do.
    bindings: [
      factors ? reads(label, 'factors', factors, k) : reads(label, 'weights', from, 1),
      writes(label, 'bad', bad, 1),
      ...bindings,
    ],
    weight: bindArrays(label, source, [from], rows, k, read),
  };
}
