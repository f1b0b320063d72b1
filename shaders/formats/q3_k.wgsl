// Format q3_k: w = d · scale · code; sub-blocks of 16 with scales of six bits, codes of two bits and a third in bytes of their own.
// The kernel declares `fn row_length() -> u32`, the weights in a row: a multiple of 256.
// #include "shared/k_signed.wgsl"
@group(1) @binding(0) var<storage, read> weight_codes: array<vec4<u32>>;
@group(1) @binding(2) var<storage, read> weight_multiples: array<u32>;
@group(1) @binding(3) var<storage, read> weight_high: array<vec4<u32>>;

struct Words { codes: vec4<u32>, high: vec4<u32>, shift: u32, bit: u32 }

fn words_of(at: u32) -> Words {
  let high = weight_high[2u * (at >> 8u) + ((at >> 4u) & 1u)];
  return Words(weight_codes[pairs_at(at)], high, pair_shift(at), (at >> 5u) & 7u);
}

fn codes_of(words: Words, i: u32) -> vec4<i32> {
  return (bits4(words.codes[i], words.shift, 3u) | (bits4(words.high[i], words.bit, 1u) << vec4<u32>(2u))) - 4;
}

// The low four bits are nibbles of eight bytes, the high two are pairs of four more.
fn scale_of(at: u32) -> i32 {
  let first = 3u * (at >> 8u);
  let j = (at >> 4u) & 15u;
  let shift = 8u * (j & 3u);
  let low = (weight_multiples[first + ((j >> 2u) & 1u)] >> (shift + 4u * (j >> 3u))) & 15u;
  let high = (weight_multiples[first + 2u] >> (shift + 2u * (j >> 2u))) & 3u;
  return i32(low | (high << 4u)) - 32;
}
