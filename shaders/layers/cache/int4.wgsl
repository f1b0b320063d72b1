// Keys and values in four bits, a scale and a minimum in f16 for 32 numbers of a head: the codes of a head, then those pairs. By `encodeHead` in
// src/kernels/reference/cache.ts.
// #include "eight.wgsl"
// #include "../../common/divide.wgsl"
// #include "../../common/float16.wgsl"
fn nibbles4(word: u32) -> vec4<f32> {
  return vec4<f32>(vec4<i32>((vec4<u32>(word) >> vec4<u32>(0u, 4u, 8u, 12u)) & vec4<u32>(15u)));
}

fn nibble_of(x: f32, scale: f32, low: f32) -> u32 {
  return u32(clamp(round(divide(clamp(x, -65504.0, 65504.0) - low, scale)), 0.0, 15.0));
}

fn nibbles_of(x: vec4<f32>, scale: f32, low: f32) -> u32 {
  return nibble_of(x.x, scale, low) | (nibble_of(x.y, scale, low) << 4u) | (nibble_of(x.z, scale, low) << 8u) | (nibble_of(x.w, scale, low) << 12u);
}

fn head_words() -> u32 {
  return eights() + groups();
}

// #repeat c 2
@group(1) @binding($c) var<storage, read_write> cache$c: array<u32>;

fn cached$c(head: u32, i: u32) -> Eight {
  let start = head * head_words();
  let codes = cache$c[start + i];
  let pair = cache$c[start + eights() + (i >> 2u)];
  let scale = f16_value(pair & 0xffffu);
  let low = f16_value(pair >> 16u);
  return Eight(scale * nibbles4(codes) + low, scale * nibbles4(codes >> 16u) + low);
}

fn keep$c(head: u32, group: u32, given: Group) {
  var values = given;
  let start = head * head_words();
  var low = 65504.0;
  var high = -65504.0;
  for (var i = 0u; i < inside(group); i++) {
    let x = clamp(values[i >> 2u][i & 3u], -65504.0, 65504.0);
    low = min(low, x);
    high = max(high, x);
  }
  let signed_low = f16_bits_saturated(bitcast<u32>(low));
  // Zeros of either sign are one.
  let low_bits = select(signed_low, 0u, (signed_low & 0x7fffu) == 0u);
  let scale_bits = f16_bits_saturated(bitcast<u32>(divide(high - low, 15.0)));
  let first = f16_value(low_bits);
  let scale = f16_value(scale_bits);
  for (var i = 0u; i < min(eights() - 4u * group, 4u); i++) {
    let step = max(scale, 0x1p-24);
    let codes = nibbles_of(values[2u * i], step, first) | (nibbles_of(values[2u * i + 1u], step, first) << 16u);
    cache$c[start + 4u * group + i] = select(codes, 0u, scale_bits == 0u);
  }
  cache$c[start + eights() + group] = scale_bits | (low_bits << 16u);
}
// #end
