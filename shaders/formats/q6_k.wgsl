// Format q6_k: w = d · scale · code; sub-blocks of 16 with scales of eight bits, codes of four bits and two more in bytes of their own.
// The kernel declares `fn row_length() -> u32`, the weights in a row: a multiple of 256.
// #include "shared/k_signed.wgsl"
@group(1) @binding(0) var<storage, read> weight_codes: array<vec4<u32>>;
@group(1) @binding(2) var<storage, read> weight_multiples: array<u32>;
@group(1) @binding(3) var<storage, read> weight_high: array<vec4<u32>>;

struct Words { codes: vec4<u32>, high: vec4<u32>, shift: u32, pair: u32 }

// Low bits of weights that are 64 apart share a byte, high ones of weights that are 32 apart.
fn words_of(at: u32) -> Words {
  let low = weight_codes[8u * (at >> 8u) + 4u * ((at >> 7u) & 1u) + ((at >> 4u) & 3u)];
  return Words(low, weight_high[pairs_at(at)], 4u * ((at >> 6u) & 1u), pair_shift(at));
}

fn codes_of(words: Words, i: u32) -> vec4<i32> {
  return (bits4(words.codes[i], words.shift, 15u) | (bits4(words.high[i], words.pair, 3u) << vec4<u32>(4u))) - 32;
}

fn scale_of(at: u32) -> i32 {
  return (i32(weight_multiples[at >> 6u]) << (24u - 8u * ((at >> 4u) & 3u))) >> 24u;
}
