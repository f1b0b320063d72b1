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

// f16 bits of |x|, which is finite: to nearest, ties to even; what is too large comes out larger than 0x7bff.
fn f16_magnitude(magnitude: u32) -> u32 {
  let normal = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13u) & 1u)) >> 13u;
  // Below 2^-14 a sum with 1/2, whose last place is 2^-24, rounds to a multiple of that.
  let small = bitcast<u32>(bitcast<f32>(magnitude) + 0.5) - 0x3f000000u;
  return select(normal, small, magnitude < 0x38800000u);
}

// f16 bits of a finite f32 given by its bits: to nearest, ties to even; 65520 and above become infinity.
fn f16_bits(value: u32) -> u32 {
  return ((value >> 16u) & 0x8000u) | min(f16_magnitude(value & 0x7fffffffu), 0x7c00u);
}

// The same for weights: what would become infinity becomes the largest finite value of its sign, 65504.
fn f16_bits_saturated(value: u32) -> u32 {
  return ((value >> 16u) & 0x8000u) | f16_magnitude(min(value & 0x7fffffffu, 0x477fe000u));
}

fn bf16_value4(bits: vec4<u32>) -> vec4<f32> {
  return bitcast<vec4<f32>>(bits << vec4<u32>(16u));
}

// bf16 bits of a finite f32 given by its bits: to nearest, ties to even; saturates.
fn bf16_bits_saturated(value: u32) -> u32 {
  let bits = (value + 0x7fffu + ((value >> 16u) & 1u)) >> 16u;
  return bits - select(0u, 1u, (bits & 0x7fffu) == 0x7f80u);
}
