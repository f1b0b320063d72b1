// ggml's q4_1: m = min w, d = (max w − m) / 15, code = ⌊(w − m) / d + ½⌋.
// #include "minimum_pairs.wgsl"
// #include "source.wgsl"
// #include "range.wgsl"
// #include "pack.wgsl"
@group(0) @binding(0) var<storage, read_write> codes: array<u32>;
@group(0) @binding(1) var<storage, read_write> scales: array<u32>;
@group(0) @binding(2) var<storage, read_write> minima: array<u32>;
@group(0) @binding(3) var<storage, read_write> bad: atomic<u32>;
@group(0) @binding(4) var<uniform> params: Params;

const GROUP = 32u;

fn codes4(i: u32, range: BlockRange, inverse: f32) -> vec4<f32> {
  return codes_above(i, bitcast<f32>(range.minimum), inverse, 15.0);
}

// Quantizes one block and returns the f16 bits of its scale and of its minimum.
fn quantize_block(index: u32) -> vec2<u32> {
  let range = block_range(GROUP * index, 0x41700000u); // 15
  let inverse = inverse_step(range.step, SMALLEST_STEP_ABOVE_MINIMUM);
  for (var i = 0u; i < 4u; i++) {
    codes[4u * index + i] = pack_nibbles(codes4(2u * i, range, inverse), codes4(2u * i + 1u, range, inverse));
  }
  return vec2<u32>(f16_bits(range.step), f16_bits(range.minimum));
}
