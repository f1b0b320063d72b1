// The step d of ggml's legacy types and its reciprocal (src/formats/ggml.ts states the rules).
// #include "../common/divide.wgsl"
// #include "../common/float16.wgsl"

// Bits of |d|, saturated where its f16 would be infinite.
fn saturated_step(d: u32) -> u32 {
  return select(d, 0x477fe000u, d >= 0x477ff000u);
}

// Steps from which on a block counts (SMALLEST_STEP and SMALLEST_STEP_ABOVE_MINIMUM there): 2^-124 and 2^-100.
const SMALLEST_STEP = 0x01800000u;
const SMALLEST_STEP_ABOVE_MINIMUM = 0x0d800000u;

// 1 / |d| rounded to f32; 0 where |d| is smaller than the smallest step and the block counts as zero.
fn inverse_step(d: u32, smallest: u32) -> f32 {
  return select(bitcast<f32>(inverse_bits(d)), 0.0, d < smallest);
}
