// Format q2_k: w = d · scale · code − dmin · minimum; sub-blocks of 16 with a byte for scale and minimum.
// The kernel declares `fn row_length() -> u32`, the weights in a row: a multiple of 256.
// #include "shared/k_affine.wgsl"
@group(1) @binding(0) var<storage, read> weight_codes: array<vec4<u32>>;
@group(1) @binding(2) var<storage, read> weight_scales: array<u32>;

struct Words { codes: vec4<u32>, shift: u32 }

fn words_of(at: u32) -> Words {
  return Words(weight_codes[pairs_at(at)], pair_shift(at));
}

fn codes_of(words: Words, i: u32) -> vec4<i32> {
  return bits4(words.codes[i], words.shift, 3u);
}

fn pair_of(at: u32) -> vec2<u32> {
  let byte = weight_scales[at >> 6u] >> (8u * ((at >> 4u) & 3u));
  return vec2<u32>(byte & 15u, (byte >> 4u) & 15u);
}
