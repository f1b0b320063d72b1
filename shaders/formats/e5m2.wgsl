// Formats e5m2-*: codes of five bits of exponent and two of mantissa (OCP E5M2): the upper half of f16.
// #include "shared/float8_groups.wgsl"

fn values_of(bytes: vec4<u32>) -> vec4<f32> {
  return f16_value4(bytes << vec4<u32>(8u));
}
