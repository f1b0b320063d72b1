// ggml's tq2_0: two bits a digit, four weights that are 32 apart in a byte.
// #include "ternary.wgsl"
@group(0) @binding(0) var<storage, read_write> codes: array<u32>;
@group(0) @binding(1) var<storage, read_write> scales: array<u32>;
@group(0) @binding(2) var<storage, read_write> bad: atomic<u32>;
@group(0) @binding(3) var<uniform> params: Params;

// #include "../pack/tq2_0_codes.wgsl"

// 1 / d of the block at hand.
var<private> inverse: f32;

fn digits4(at: u32) -> vec4<u32> {
  return ternary_digits4(at, inverse);
}

// Quantizes one block and returns the f16 bits of its scale.
fn quantize_block(index: u32) -> u32 {
  let step = ternary_step(GROUP * index);
  inverse = inverse_step(step, SMALLEST_STEP);
  let end = end_of(0u, WORDS);
  for (var word = 0u; word < end; word++) { write_word(index, word); }
  return f16_bits(step);
}
