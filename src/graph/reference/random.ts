/**
 * PCG's output permutation RXS-M-XS over one step of its 32-bit generator, as a hash of u32 to u32; all arithmetic
 * modulo 2³². Source: Jarzynski and Olano, "Hash Functions for GPU Rendering", JCGT 2020.
 */
export function pcg(input: number): number {
  const state = (Math.imul(input, 747796405) + 2891336453) >>> 0;
  const word = Math.imul((state >>> ((state >>> 28) + 4)) ^ state, 277803737) >>> 0;
  return ((word >>> 22) ^ word) >>> 0;
}

/**
 * The random u32 that belongs to (seed, position): pcg(pcg(seed) + position), both taken modulo 2³². Nothing is
 * carried from one position to the next, so a run can start anywhere and the GPU needs no state.
 */
export function randomU32(seed: number, position: number): number {
  return pcg((pcg(seed) + (position >>> 0)) >>> 0);
}

/** The upper 24 bits of `randomU32` times 2⁻²⁴: in [0, 1), and exact in f32. */
export function randomUniform(seed: number, position: number): number {
  return (randomU32(seed, position) >>> 8) * 2 ** -24;
}
