// Codes of five bits: nibbles in words of eight, and the fifth bits of 32 weights in a word. A thread owns 32 weights.
// #include "given.wgsl"
@group(0) @binding(1) var<storage, read_write> codes: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> high: array<u32>;
@group(0) @binding(3) var<uniform> params: Params;

const WEIGHTS = 32u;

// #include "words.wgsl"

// The fifth bits of four codes, side by side.
fn fifths(four: u32) -> u32 {
  let bits = (four >> 4u) & 0x01010101u;
  return (bits | (bits >> 7u) | (bits >> 14u) | (bits >> 21u)) & 15u;
}

fn pack_word(index: u32) {
  var nibbles = vec4<u32>(0u);
  var bits = 0u;
  for (var i = 0u; i < 4u; i++) {
    let first = given[8u * index + 2u * i];
    let second = given[8u * index + 2u * i + 1u];
    nibbles[i] = (first & 0x0f0f0f0fu) | ((second & 0x0f0f0f0fu) << 4u);
    bits |= (fifths(first) | (fifths(second) << 4u)) << (8u * i);
  }
  codes[index] = nibbles;
  high[index] = bits;
}
