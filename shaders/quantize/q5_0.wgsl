// ggml's q5_0: d = m / −16 with m the first weight of largest magnitude, code = ⌊w / d + 16.5⌋. Fifth bits
// take a word a block.
// #include "scale_pairs.wgsl"
// #include "source.wgsl"
// #include "signed_step.wgsl"
// #include "pack.wgsl"
@group(0) @binding(0) var<storage, read_write> codes: array<u32>;
@group(0) @binding(1) var<storage, read_write> scales: array<u32>;
@group(0) @binding(2) var<storage, read_write> high: array<u32>;
@group(0) @binding(3) var<storage, read_write> bad: atomic<u32>;
@group(0) @binding(4) var<uniform> params: Params;

const GROUP = 32u;

fn codes4(i: u32, inverse: f32) -> vec4<f32> {
  return signed_codes(i, inverse, 15.0, 16.5);
}

// Quantizes one block and returns the f16 bits of its scale.
fn quantize_block(index: u32) -> u32 {
  let step = signed_step(GROUP * index, 4u);
  let inverse = signed_inverse(step);
  var fifths = 0u;
  for (var i = 0u; i < 4u; i++) {
    let packed = pack_fives(codes4(2u * i, inverse), codes4(2u * i + 1u, inverse));
    codes[4u * index + i] = packed.x;
    fifths |= packed.y << (i << 3u);
  }
  high[index] = fifths;
  return f16_bits(step);
}
