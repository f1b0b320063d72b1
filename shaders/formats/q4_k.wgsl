// Format q4_k: w = d · scale · code − dmin · minimum; sub-blocks of 32 with six bits for each of the two.
// The kernel declares `fn row_length() -> u32`, the weights in a row: a multiple of 256.
// #include "shared/k_affine.wgsl"
// #include "shared/six_bit_pairs.wgsl"
@group(1) @binding(0) var<storage, read> weight_codes: array<vec4<u32>>;

struct Words { codes: vec4<u32>, shift: u32 }

fn words_of(at: u32) -> Words {
  return Words(weight_codes[halves_at(at)], half_shift(at));
}

fn codes_of(words: Words, i: u32) -> vec4<i32> {
  return bits4(words.codes[i], words.shift, 15u);
}
