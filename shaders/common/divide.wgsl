// f32 division rounded to nearest, ties to even. WGSL's own may be off by 2.5 units in the last place, which is too
// much where one rounding decides a code.

// Bits of a / b for the bits of two positive normal numbers. Subnormal quotients become 0, overflow the largest finite.
// The quotient's 25 bits (24 and a guard bit) are estimated in floating point and corrected by the exact remainder,
// which fits 32 bits because everything but its low word cancels.
fn divide_bits(a: u32, b: u32) -> u32 {
  // Signed: conversions of unsigned numbers are slow where the vector unit has none.
  let ma = bitcast<i32>((a & 0x7fffffu) | 0x800000u);
  let mb = bitcast<i32>((b & 0x7fffffu) | 0x800000u);
  let less = select(0u, 1u, ma < mb);
  let exponent = i32(a >> 23u) - i32(b >> 23u) + 127 - bitcast<i32>(less);
  let inverse = 1.0 / f32(mb);
  var quotient = i32(f32(ma) * inverse * select(0x1p24, 0x1p25, ma < mb));
  var rest = bitcast<i32>((bitcast<u32>(ma) << (24u + less)) - bitcast<u32>(quotient * mb));
  // The estimate is off by a few units. Their number is estimated in its turn, and off by one at most.
  let units = i32(floor(f32(rest) * inverse));
  quotient += units;
  rest -= units * mb;
  let under = rest < 0;
  quotient -= select(0, 1, under);
  rest += select(0, mb, under);
  let over = rest >= mb;
  quotient += select(0, 1, over);
  rest -= select(0, mb, over);
  let mantissa = bitcast<u32>(quotient >> 1u);
  let up = (bitcast<u32>(quotient) & 1u) & (select(0u, 1u, rest != 0) | (mantissa & 1u));
  // A carry out of the mantissa lands in the exponent, as it should.
  let bits = (u32(max(exponent, 1)) << 23u) + (mantissa - 0x800000u) + up;
  return select(select(bits, 0x7f7fffffu, exponent > 254), 0u, exponent < 1);
}

// a / b for a and b as above, or of either sign, or a zero or subnormal (which gives 0).
fn divide(a: f32, b: f32) -> f32 {
  let x = bitcast<u32>(a);
  let y = bitcast<u32>(b);
  if ((x & 0x7fffffffu) < 0x800000u) { return 0.0; }
  return bitcast<f32>(((x ^ y) & 0x80000000u) | divide_bits(x & 0x7fffffffu, y & 0x7fffffffu));
}

// Bits of 1 / b for the bits of a positive normal number, as divide_bits(bits of 1, b) gives them, in half of the time: the remainder of a
// power of two is the product alone. Sums with 1.5 · 2^23 hold whole numbers in their low bits, which spares conversions.
fn inverse_bits(b: u32) -> u32 {
  let one_to_two = (b & 0x7fffffu) | 0x3f800000u;
  let mb = bitcast<i32>(one_to_two - 0x3f000000u);
  let estimate = 1.0 / bitcast<f32>(one_to_two);
  // From 2^23 to 2^24.
  var quotient = bitcast<i32>(estimate) - 0x3e800000;
  var rest = -(quotient * mb);
  let units = bitcast<i32>(f32(rest) * (estimate * 0x1p-23) + 0x1.8p23) - 0x4b400000;
  rest -= units * mb;
  quotient += units + select(0, 1, 2 * rest > mb) - select(0, 1, 2 * rest < -mb);
  let bits = 0x7e000000 - bitcast<i32>(b & 0x7f800000u) + quotient;
  return select(bitcast<u32>(bits), 0u, bits < 0x800000);
}

// 1 / x for a normal x of either sign.
fn reciprocal(x: f32) -> f32 {
  let bits = bitcast<u32>(x);
  return bitcast<f32>((bits & 0x80000000u) | inverse_bits(bits & 0x7fffffffu));
}
