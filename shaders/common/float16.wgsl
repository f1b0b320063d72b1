// f16 and bf16 as bit patterns, in integers: pack2x16float may round toward zero, and drivers may flush subnormals.
// The CPU side is src/formats/float16.ts.

// The value of f16 bits; exact, infinity and NaN included.
fn f16_value(bits: u32) -> f32 {
  let sign = (bits & 0x8000u) << 16u;
  let magnitude = bits & 0x7fffu;
  let rebiased = (magnitude << 13u) + 0x38000000u;
  let normal = select(rebiased, rebiased | 0x7f800000u, magnitude >= 0x7c00u);
  // Subnormal: a multiple of 2^-24, which f32 holds as a normal number.
  let small = bitcast<u32>(f32(magnitude) * 0x1p-24);
  return bitcast<f32>(sign | select(normal, small, magnitude < 0x400u));
}

fn f16_value4(bits: vec4<u32>) -> vec4<f32> {
  let sign = (bits & vec4<u32>(0x8000u)) << vec4<u32>(16u);
  let magnitude = bits & vec4<u32>(0x7fffu);
  let rebiased = (magnitude << vec4<u32>(13u)) + vec4<u32>(0x38000000u);
  let normal = select(rebiased, rebiased | vec4<u32>(0x7f800000u), magnitude >= vec4<u32>(0x7c00u));
  let small = bitcast<vec4<u32>>(vec4<f32>(magnitude) * 0x1p-24);
  return bitcast<vec4<f32>>(sign | select(normal, small, magnitude < vec4<u32>(0x400u)));
}

// f16 bits of a finite f32 given by its bits: to nearest, ties to even; 65520 and above become infinity.
fn f16_bits(value: u32) -> u32 {
  let sign = (value >> 16u) & 0x8000u;
  let magnitude = value & 0x7fffffffu;
  let normal = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13u) & 1u)) >> 13u;
  // Below 2^-14: the mantissa shifted to a multiple of 2^-24. 31 stands for any shift that leaves nothing.
  let shift = min(126u - min(magnitude >> 23u, 126u), 31u);
  let mantissa = (magnitude & 0x7fffffu) | 0x800000u;
  let small = select((mantissa + ((1u << shift) >> 1u) - 1u + ((mantissa >> shift) & 1u)) >> shift, 0u, shift > 24u);
  return sign | select(select(normal, small, magnitude < 0x38800000u), 0x7c00u, magnitude >= 0x477ff000u);
}

// The same for weights: what would become infinity becomes the largest finite value of its sign.
fn f16_bits_saturated(value: u32) -> u32 {
  let bits = f16_bits(value);
  return bits - select(0u, 1u, (bits & 0x7fffu) == 0x7c00u);
}

fn bf16_value4(bits: vec4<u32>) -> vec4<f32> {
  return bitcast<vec4<f32>>(bits << vec4<u32>(16u));
}

// bf16 bits of a finite f32 given by its bits: to nearest, ties to even; saturates.
fn bf16_bits_saturated(value: u32) -> u32 {
  let bits = (value + 0x7fffu + ((value >> 16u) & 1u)) >> 16u;
  return bits - select(0u, 1u, (bits & 0x7fffu) == 0x7f80u);
}
