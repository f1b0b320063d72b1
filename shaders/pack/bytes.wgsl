// Codes of eight bits: as they are, or, where they are stored signed, with 128 taken off.
// #include "given.wgsl"
@group(0) @binding(1) var<storage, read_write> codes: array<u32>;
@group(0) @binding(2) var<uniform> params: Params;

override SIGNED: bool = false;

const WEIGHTS = 4u;

// #include "words.wgsl"

fn pack_word(index: u32) {
  codes[index] = given[index] ^ select(0u, 0x80808080u, SIGNED);
}
