// Format q5_k: q4_k with a fifth bit: of 32 bytes a block, bit j of byte i for weight 32j + i.
// The kernel declares `fn row_length() -> u32`, the weights in a row: a multiple of 256.
// #include "shared/k_affine.wgsl"
// #include "shared/six_bit_pairs.wgsl"
@group(1) @binding(0) var<storage, read> weight_codes: array<vec4<u32>>;
@group(1) @binding(3) var<storage, read> weight_high: array<vec4<u32>>;

struct Words { codes: vec4<u32>, high: vec4<u32>, shift: u32, bit: u32 }

fn words_of(at: u32) -> Words {
  let high = weight_high[2u * (at >> 8u) + ((at >> 4u) & 1u)];
  return Words(weight_codes[halves_at(at)], high, half_shift(at), (at >> 5u) & 7u);
}

fn codes_of(words: Words, i: u32) -> vec4<i32> {
  return bits4(words.codes[i], words.shift, 15u) | (bits4(words.high[i], words.bit, 1u) << vec4<u32>(4u));
}
