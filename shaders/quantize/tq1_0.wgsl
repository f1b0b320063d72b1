// ggml's tq1_0: five digits base 3 in a byte, as a fraction of 256 rounded up; of weights that are 32, 16 or, in the last word, 4 apart.
// #include "ternary.wgsl"
@group(0) @binding(0) var<storage, read_write> codes: array<u32>;
@group(0) @binding(1) var<storage, read_write> scales: array<u32>;
@group(0) @binding(2) var<storage, read_write> bad: atomic<u32>;
@group(0) @binding(3) var<uniform> params: Params;

// #include "../pack/tq1_0_codes.wgsl"

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
