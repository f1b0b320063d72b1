// Codes of two bits into words of sixteen, the first in the lowest bits.
// #include "given.wgsl"
@group(0) @binding(1) var<storage, read_write> codes: array<u32>;
@group(0) @binding(2) var<uniform> params: Params;

const WEIGHTS = 16u;

// #include "words.wgsl"

fn pack_word(index: u32) {
  var word = 0u;
  for (var i = 0u; i < 4u; i++) {
    let four = given[4u * index + i] & 0x03030303u;
    word |= ((four | (four >> 6u) | (four >> 12u) | (four >> 18u)) & 0xffu) << (8u * i);
  }
  codes[index] = word;
}
