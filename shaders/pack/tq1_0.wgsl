// Digits 0, 1, 2, a byte each, into the codes of tq1_0. A thread owns a block of 256 weights.
// #include "given.wgsl"
@group(0) @binding(1) var<storage, read_write> codes: array<u32>;
@group(0) @binding(2) var<uniform> params: Params;

const WEIGHTS = 256u;

// #include "words.wgsl"
// #include "tq1_0_codes.wgsl"

fn digits4(at: u32) -> vec4<u32> {
  return (vec4<u32>(given[at >> 2u]) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(3u);
}

fn pack_word(index: u32) {
  for (var word = 0u; word < min(WORDS, params.count); word++) { write_word(index, word); }
}
