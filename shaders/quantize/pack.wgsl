// Codes, as f32 integers, into words, in the layouts of shaders/formats/int8.wgsl, int4.wgsl and q5_0.wgsl. The packing is done in
// f32 as far as 24 bits reach: 2^23 + n holds n in its low bits, and everything stays exact however it is contracted.

// Four codes of 0 .. 255.
fn pack_bytes(codes: vec4<f32>) -> u32 {
  let pairs = bitcast<vec2<u32>>(codes.xz + vec2<f32>(0x1p23) + codes.yw * 256.0);
  return (pairs.x & 0xffffu) | (pairs.y << 16u);
}

// Four codes of −128 .. 127, as int8: packed with 128 added, which the exclusive or takes off again.
fn pack_signed_bytes(codes: vec4<f32>) -> u32 {
  let pairs = bitcast<vec2<u32>>(codes.xz + vec2<f32>(0x1p23 + 128.0 * 257.0) + codes.yw * 256.0);
  return ((pairs.x & 0xffffu) | (pairs.y << 16u)) ^ 0x80808080u;
}

// Eight codes of 0 .. 15: weights 0 .. 3, then 4 .. 7.
fn pack_nibbles(first: vec4<f32>, second: vec4<f32>) -> u32 {
  return pack_bytes(first + second * 16.0);
}

// Eight codes of 0 .. 31: a word of nibbles and, in the low byte, the fifth bits.
fn pack_fives(first: vec4<f32>, second: vec4<f32>) -> vec2<u32> {
  let first_high = step(vec4<f32>(16.0), first);
  let second_high = step(vec4<f32>(16.0), second);
  let places = vec4<f32>(1.0, 2.0, 4.0, 8.0);
  let high = dot(first_high, places) + dot(second_high, places) * 16.0;
  return vec2<u32>(pack_nibbles(first - first_high * 16.0, second - second_high * 16.0), u32(high));
}
