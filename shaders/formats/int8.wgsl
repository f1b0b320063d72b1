// Formats int8-g*, int8-row and q8_0: w = scale · code, code int8.
// #include "shared/int8_words.wgsl"
const MIDDLE = 0;

// Codes of the four bytes of a word.
fn bytes_of(word: u32) -> vec4<i32> {
  return (vec4<i32>(bitcast<i32>(word)) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u);
}

// Codes of weights 4i .. 4i + 3 of sixteen, as int8 in a word.
fn packed_of(words: Words, i: u32) -> u32 {
  return words[i];
}

// #include "shared/middle_groups.wgsl"
