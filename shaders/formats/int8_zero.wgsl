// Formats int8-*-asym and int8-*-fzp: w = scale · (code − zero), code uint8.
// #include "shared/int8_words.wgsl"

// Codes of the four bytes of a word.
fn bytes_of(word: u32) -> vec4<i32> {
  return vec4<i32>((vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(0xffu));
}

// #include "shared/zero_groups.wgsl"
