// ggml's q5_1: m = min w, d = (max w − m) / 31, code = ⌊(w − m) / d + ½⌋. Fifth bits take a word a block.
// #include "minimum_pairs.wgsl"
// #include "source.wgsl"
// #include "range.wgsl"
// #include "pack.wgsl"
@group(0) @binding(0) var<storage, read_write> codes: array<u32>;
@group(0) @binding(1) var<storage, read_write> scales: array<u32>;
@group(0) @binding(2) var<storage, read_write> minima: array<u32>;
@group(0) @binding(3) var<storage, read_write> high: array<u32>;
@group(0) @binding(4) var<storage, read_write> bad: atomic<u32>;
@group(0) @binding(5) var<uniform> params: Params;

const GROUP = 32u;

fn codes4(i: u32, range: BlockRange, inverse: f32) -> vec4<f32> {
  return codes_above(i, bitcast<f32>(range.minimum), inverse, 31.0);
}

// Quantizes one block and returns the f16 bits of its scale and of its minimum.
fn quantize_block(index: u32) -> vec2<u32> {
  let range = block_range(GROUP * index, 0x41f80000u); // 31
  let inverse = inverse_step(range.step, SMALLEST_STEP_ABOVE_MINIMUM);
  var fifths = 0u;
  for (var i = 0u; i < 4u; i++) {
    let packed = pack_fives(codes4(2u * i, range, inverse), codes4(2u * i + 1u, range, inverse));
    codes[4u * index + i] = packed.x;
    fifths |= packed.y << (i << 3u);
  }
  high[index] = fifths;
  return vec2<u32>(f16_bits(range.step), f16_bits(range.minimum));
}
