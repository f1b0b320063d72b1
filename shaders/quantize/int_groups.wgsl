// What the quantizers of integer groups share (src/formats/integer-groups.ts): a thread owns OWN groups, enough for whole words of every
// array, and `quantize_group` makes one. Of bytes the bits FLIPPED are stored flipped.
// #include "../common/each.wgsl"
// #include "../common/float16.wgsl"
// #include "source.wgsl"
// #include "extremes.wgsl"
// #include "rounding.wgsl"
// #include "pack.wgsl"
override BITS: u32 = 4;
override GROUP: u32 = 32;
override OWN: u32 = 2;
// f16, bf16 or f32.
override SCALE_TYPE: u32 = 0;

// Beyond this a scale saturates, at a 255th of it: a bound for both ends keeps their difference finite.
const HUGE = 0x1p126;
// 2^117 and 2^-100, the largest and the smallest in bf16 and f32.
const LARGEST = 0x7a000000u;
const SMALLEST = 0x0d800000u;

// The stored bits of a float given by its own: to nearest, saturated, +0 for what rounds to zero.
fn float_bits(value: u32) -> u32 {
  let magnitude = value & 0x7fffffffu;
  if (SCALE_TYPE == 0u) {
    let bits = f16_bits_saturated(magnitude);
    return select(bits | ((value >> 16u) & 0x8000u), 0u, bits == 0u);
  }
  let bounded = select(min(magnitude, LARGEST), 0u, magnitude < SMALLEST);
  let signed = select(bounded | (value & 0x80000000u), 0u, bounded == 0u);
  if (SCALE_TYPE == 1u) { return bf16_bits_saturated(signed); }
  return signed;
}

fn float_value(bits: u32) -> f32 {
  if (SCALE_TYPE == 0u) { return f16_value(bits); }
  if (SCALE_TYPE == 1u) { return bitcast<f32>(bits << 16u); }
  return bitcast<f32>(bits);
}

// Words in the making.
var<private> scale_word: u32;
var<private> code_word: u32;

// A thread's groups start at an even one; `last` is the last of the matrix.
fn store_scale(group: u32, bits: u32, last: bool) {
  if (SCALE_TYPE == 2u) {
    scales[group] = bits;
    return;
  }
  scale_word |= bits << ((group & 1u) << 4u);
  if ((group & 1u) == 1u || last) {
    scales[group >> 1u] = scale_word;
    scale_word = 0u;
  }
}

// Stores the codes of the weights from `first` on, a multiple of 16, which the kernel gives: fn codes4(at: u32) -> vec4<f32>. Few calls of
// it, because each takes long to compile.
fn store_codes(first: u32) {
  let end = end_of(first, GROUP);
  if (BITS == 8u) {
    for (var at = first; at < end; at += 4u) { codes[at >> 2u] = pack_bytes(codes4(at)) ^ FLIPPED; }
  } else if (BITS == 4u) {
    for (var at = first; at < end; at += 8u) { codes[at >> 3u] = pack_nibbles(codes4(at), codes4(at + 4u)); }
  } else if (BITS == 3u) {
    for (var at = first; at < end; at += 8u) { store_threes(at, pack_threes(codes4(at), codes4(at + 4u))); }
  } else {
    for (var at = first; at < end; at += 8u) { store_pairs(at, pack_pairs(codes4(at), codes4(at + 4u))); }
  }
}

// A word of two-bit codes is complete with the second eight, and starts with the first.
fn store_pairs(at: u32, eight: u32) {
  if ((at & 8u) == 0u) { code_word = eight; } else { codes[at >> 4u] = code_word | (eight << 16u); }
}

// Eight codes of three bits after the other: 24 bits, of which four times make three words.
fn store_threes(at: u32, eight: u32) {
  let bit = 3u * (at & 31u);
  let word = 3u * (at >> 5u) + (bit >> 5u);
  let place = bit & 31u;
  let low = code_word | (eight << place);
  if (place == 0u) { code_word = eight; } else {
    codes[word] = low;
    code_word = eight >> (32u - place);
  }
  // Half a word may be left at the end of the matrix.
  if (at + 8u >= params.count && (at & 31u) == 8u) { codes[word + 1u] = code_word; }
}

// Eight codes of two bits in 16 bits, of three in 24, which f32 adds up exactly.
fn pack_pairs(first: vec4<f32>, second: vec4<f32>) -> u32 {
  let places = vec4<f32>(1.0, 4.0, 16.0, 64.0);
  return u32(i32(dot(first, places) + dot(second, places) * 256.0));
}

fn pack_threes(first: vec4<f32>, second: vec4<f32>) -> u32 {
  let places = vec4<f32>(1.0, 8.0, 64.0, 512.0);
  return u32(i32(dot(first, places) + dot(second, places) * 4096.0));
}

fn each(thread: u32) {
  let groups = params.count / GROUP;
  let first = OWN * thread;
  for (var group = first; group < min(first + OWN, groups); group++) {
    quantize_group(group, group + 1u == groups);
  }
}
