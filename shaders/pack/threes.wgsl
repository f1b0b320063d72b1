// Codes of three bits, one after the other from the lowest bit on: 32 in three words, the last sixteen of a matrix perhaps in half as much.
// #include "given.wgsl"
@group(0) @binding(1) var<storage, read_write> codes: array<u32>;
@group(0) @binding(2) var<uniform> params: Params;

const WEIGHTS = 32u;

// #include "words.wgsl"

// Eight codes in 24 bits.
fn eight(index: u32) -> u32 {
  if (8u * index >= params.count) { return 0u; }
  return four(given[2u * index]) | (four(given[2u * index + 1u]) << 12u);
}

fn four(bytes: u32) -> u32 {
  return (bytes & 7u) | ((bytes >> 5u) & 0x38u) | ((bytes >> 10u) & 0x1c0u) | ((bytes >> 15u) & 0xe00u);
}

fn pack_word(index: u32) {
  let a = eight(4u * index);
  let b = eight(4u * index + 1u);
  let c = eight(4u * index + 2u);
  let d = eight(4u * index + 3u);
  codes[3u * index] = a | (b << 24u);
  codes[3u * index + 1u] = (b >> 8u) | (c << 16u);
  if (32u * index + 16u < params.count) { codes[3u * index + 2u] = (c >> 16u) | (d << 8u); }
}
