// ggml's tq2_0: two bits a digit, four weights that are 32 apart in a byte.
// #include "ternary.wgsl"
@group(0) @binding(0) var<storage, read_write> codes: array<u32>;
@group(0) @binding(1) var<storage, read_write> scales: array<u32>;
@group(0) @binding(2) var<storage, read_write> bad: atomic<u32>;
@group(0) @binding(3) var<uniform> params: Params;

// Quantizes one block and returns the f16 bits of its scale.
fn quantize_block(index: u32) -> u32 {
  let first = GROUP * index;
  let step = ternary_step(first);
  let inverse = inverse_step(step, SMALLEST_STEP);
  let end = end_of(0u, 16u);
  for (var word = 0u; word < end; word++) {
    let at = first + 128u * (word >> 3u) + 4u * (word & 7u);
    let low = digits4(at, inverse) | (digits4(at + 32u, inverse) << vec4<u32>(2u));
    let high = digits4(at + 64u, inverse) | (digits4(at + 96u, inverse) << vec4<u32>(2u));
    codes[16u * index + word] = pack4(low | (high << vec4<u32>(4u)));
  }
  return f16_bits(step);
}
