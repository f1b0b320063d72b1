// What the kernels of double quantization share (src/formats/double-quantize.ts): scales of a whole matrix, not negative, and for each block of 256 two
// numbers. `first` is the largest distance from the mean, and the sum of the block before that is known; `mean` the same in all.
// #include "../common/grid.wgsl"
struct Params {
  groups: u32,
  // The exponent of a power of two that is no less than `groups`, and groups divided by it.
  shift: u32,
  share: f32,
}
struct Nested { first: f32, mean: f32 }

const NESTED = 256u;
const SMALLEST_NORMAL = 0x800000u;
// 2^127: what larger scales count as.
const LARGEST_BITS = 0x7f000000u;

fn bounded_bits(scale: f32) -> u32 {
  return min(bitcast<u32>(scale), LARGEST_BITS);
}
