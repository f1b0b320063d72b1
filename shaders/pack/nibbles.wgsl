// Codes of four bits into words of eight: weight b in the low nibble of byte b, 4 + b in its high nibble (b = 0..3).
// #include "given.wgsl"
@group(0) @binding(1) var<storage, read_write> codes: array<u32>;
@group(0) @binding(2) var<uniform> params: Params;

const WEIGHTS = 8u;

// #include "words.wgsl"

fn pack_word(index: u32) {
  codes[index] = given[2u * index] | (given[2u * index + 1u] << 4u);
}
