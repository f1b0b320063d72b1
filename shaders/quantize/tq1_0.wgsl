// ggml's tq1_0: five digits base 3 in a byte, as a fraction of 256 rounded up; of weights that are 32, 16 or, in the last word, 4 apart.
// #include "ternary.wgsl"
@group(0) @binding(0) var<storage, read_write> codes: array<u32>;
@group(0) @binding(1) var<storage, read_write> scales: array<u32>;
@group(0) @binding(2) var<storage, read_write> bad: atomic<u32>;
@group(0) @binding(3) var<uniform> params: Params;

// A word of four bytes from `count` digits each, of weights that are `apart` apart.
fn fractions(at: u32, apart: u32, count: u32, inverse: f32) -> u32 {
  var sum = vec4<u32>(0u);
  for (var i = 0u; i < count; i++) { sum = sum * 3u + digits4(at + i * apart, inverse); }
  for (var i = count; i < 5u; i++) { sum *= 3u; }
  return pack4((sum * 256u + 242u) / vec4<u32>(243u));
}

// Quantizes one block and returns the f16 bits of its scale.
fn quantize_block(index: u32) -> u32 {
  let first = GROUP * index;
  let step = ternary_step(first);
  let inverse = inverse_step(step, SMALLEST_STEP);
  let end = end_of(0u, 13u);
  for (var word = 0u; word < end; word++) {
    var at = first + 4u * word;
    var apart = 32u;
    if (word == 12u) {
      at = first + 240u;
      apart = 4u;
    } else if (word >= 8u) {
      at = first + 160u + 4u * (word - 8u);
      apart = 16u;
    }
    codes[13u * index + word] = fractions(at, apart, select(5u, 4u, word == 12u), inverse);
  }
  return f16_bits(step);
}
