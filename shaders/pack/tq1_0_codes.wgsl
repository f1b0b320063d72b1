// Codes of tq1_0: five digits base 3 in a byte, as a fraction of 256 rounded up; of weights that are 32, 16 or, in the last word, 4 apart.
// The kernel declares `codes` and fn digits4(at: u32) -> vec4<u32>, the digits of weights at .. at + 3.
// #include "pack4.wgsl"

const WORDS = 13u;

// A word of four bytes from `count` digits each, of weights that are `apart` apart.
fn fractions(at: u32, apart: u32, count: u32) -> u32 {
  var sum = vec4<u32>(0u);
  for (var i = 0u; i < count; i++) { sum = sum * 3u + digits4(at + i * apart); }
  for (var i = count; i < 5u; i++) { sum *= 3u; }
  return pack4((sum * 256u + 242u) / vec4<u32>(243u));
}

// Writes a word of a block's codes.
fn write_word(index: u32, word: u32) {
  var at = 256u * index + 4u * word;
  var apart = 32u;
  if (word == 12u) {
    at = 256u * index + 240u;
    apart = 4u;
  } else if (word >= 8u) {
    at = 256u * index + 160u + 4u * (word - 8u);
    apart = 16u;
  }
  codes[13u * index + word] = fractions(at, apart, select(5u, 4u, word == 12u));
}
