// ggml's nvfp4: a scale of max|w| / 6 in unsigned E4M3 for 16 weights; a thread owns a block of 64, whose scales make one word.
// #include "float4.wgsl"
// #include "../common/divide.wgsl"
@group(0) @binding(0) var<storage, read_write> codes: array<u32>;
@group(0) @binding(1) var<storage, read_write> scales: array<u32>;
@group(0) @binding(2) var<storage, read_write> bad: atomic<u32>;
@group(0) @binding(3) var<storage, read> importance: array<vec4<f32>>;
@group(0) @binding(4) var<uniform> params: Params;

const GROUP = 16u;

// Unsigned E4M3 of the f32 with these bits, halves up; exponents of all ones only as the largest code (toE4M3 in src/formats/float4.ts).
fn to_e4m3(bits: u32) -> u32 {
  let exponent = i32(bits >> 23u) - 120;
  let small = u32(i32(min(bitcast<f32>(bits) * 512.0 + 0.5, 7.0)));
  let code = (bits >> 20u) - (120u << 3u) + ((bits >> 19u) & 1u);
  return select(select(code, 0x7eu, exponent >= 15 || code >= 120u), small, exponent <= 0);
}

const TRIALS = 8u;

// Three less to five more.
fn trial_scale(rule: u32, t: u32) -> u32 {
  let byte = i32(rule) + i32(t) - select(2, 3, t < 3u);
  return u32(select(0, byte, byte >= 1 && byte <= 0x7e));
}

fn half_scale(byte: u32) -> f32 {
  return half_e4m3(byte);
}

// Quantizes 16 weights and returns their scale.
fn quantize_group(index: u32) -> u32 {
  let magnitude = load_block(GROUP * index);
  // Below 2^-40 all of it rounds to a scale of zero, and above 2^20 to the largest: the division stays within its range.
  let bounded = min(magnitude, 0x49800000u);
  var byte = select(to_e4m3(divide_bits(bounded, 0x40c00000u)), 0u, magnitude < 0x2b800000u);
  if (SEARCH && byte != 0u) { byte = search_scale(GROUP * index, byte, magnitude); }
  let half = half_e4m3(byte);
  codes[2u * index] = pack_nibbles(codes4(0u, half), codes4(1u, half));
  codes[2u * index + 1u] = pack_nibbles(codes4(2u, half), codes4(3u, half));
  return byte;
}

fn each(index: u32) {
  if (index >= params.count / 64u) { return; }
  var word = 0u;
  for (var i = 0u; i < 4u; i++) { word |= quantize_group(4u * index + i) << (i << 3u); }
  scales[index] = word;
}
