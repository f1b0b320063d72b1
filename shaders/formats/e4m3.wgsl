// Formats e4m3-*: codes of four bits of exponent and three of mantissa (OCP E4M3): no infinity, one NaN.
// #include "shared/float8_groups.wgsl"

fn values_of(bytes: vec4<u32>) -> vec4<f32> {
  let magnitude = bytes & vec4<u32>(0x7fu);
  let normal = (magnitude << vec4<u32>(20u)) + vec4<u32>(120u << 23u);
  // Subnormal: a multiple of 2^-9, which f32 holds as a normal number.
  let small = bitcast<vec4<u32>>(vec4<f32>(magnitude) * 0x1p-9);
  let finite = select(normal, small, magnitude < vec4<u32>(8u));
  return with_sign(bytes, select(finite, vec4<u32>(0x7fc00000u), magnitude == vec4<u32>(0x7fu)));
}
