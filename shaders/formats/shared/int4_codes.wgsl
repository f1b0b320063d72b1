// #include "nibbles.wgsl"

// Codes of weights at .. at + 3, counted over whole rows.
fn codes_at(at: u32) -> vec4<i32> {
  return unpack_nibbles(nibbles_at(at));
}

// What holds the codes of the sixteen from `at` on.
alias Words = vec2<u32>;

fn words_at(at: u32) -> Words {
  return weight_codes[at >> 4u];
}

// Codes of weights 4i .. 4i + 3 of sixteen.
fn codes_of(words: Words, i: u32) -> vec4<i32> {
  return unpack_nibbles(nibbles_of(words, i));
}

// The same as int8 in a word, less the code in the middle: byte by byte, since no difference borrows from the next one's top bit.
fn packed_of(words: Words, i: u32) -> u32 {
  return (((nibbles_of(words, i) & 0x0f0f0f0fu) | 0x80808080u) - 0x08080808u) ^ 0x80808080u;
}
