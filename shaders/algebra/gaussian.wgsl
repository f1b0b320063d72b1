// Two normal deviates for (seed, position), by Box and Muller: src/kernels/reference/gaussian.ts.
// #include "../layers/pcg.wgsl"
fn gaussian2(seed: u32, position: u32) -> vec2<f32> {
  let bits = pcg(pcg(seed) + position);
  let radius = sqrt(-2.0 * log((f32(bits >> 16u) + 0.5) * 0x1p-16));
  let angle = (f32(bits & 0xffffu) - 0x1p15) * (6.2831853 * 0x1p-16);
  return radius * vec2<f32>(cos(angle), sin(angle));
}
