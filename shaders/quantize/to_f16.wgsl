// Any format to f16: rounds to nearest, ties to even; saturates at the largest finite value.
// #include "../common/float16.wgsl"
fn store4(at: u32, bits: vec4<u32>) {
  data[at >> 1u] = f16_bits_saturated(bits.x) | (f16_bits_saturated(bits.y) << 16u);
  if (at + 2u < params.count) {
    data[(at >> 1u) + 1u] = f16_bits_saturated(bits.z) | (f16_bits_saturated(bits.w) << 16u);
  }
}

// #include "to_dense.wgsl"
