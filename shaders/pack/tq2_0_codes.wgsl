// Codes of tq2_0: two bits a digit, four weights that are 32 apart in a byte.
// The kernel declares `codes` and fn digits4(at: u32) -> vec4<u32>, the digits of weights at .. at + 3.
// #include "pack4.wgsl"

const WORDS = 16u;

// Writes a word of a block's codes.
fn write_word(index: u32, word: u32) {
  let at = 256u * index + 128u * (word >> 3u) + 4u * (word & 7u);
  let low = digits4(at) | (digits4(at + 32u) << vec4<u32>(2u));
  let high = digits4(at + 64u) | (digits4(at + 96u) << vec4<u32>(2u));
  codes[16u * index + word] = pack4(low | (high << vec4<u32>(4u)));
}
