// #include "../common/divide.wgsl"

// round(w / scale), the quotient rounded to f32 and then ties to even, as f32. `inverse` is about 1 / scale, or 0 for a
// zero scale. Quotients of up to 1.5 · 2^bits matter: the reciprocal is off by 2.5 units in the last place, the product
// by half a unit, which makes less than 2^(bits−20). That close to a tie the quotient is computed exactly.
fn rounded_quotient4(w: vec4<f32>, scale: f32, inverse: f32, bits: u32) -> vec4<f32> {
  let quotient = w * inverse;
  var nearest = round(quotient);
  let tied = abs(quotient - nearest) > vec4<f32>(0.5 - f32(1u << bits) * 0x1p-20);
  if (any(tied)) {
    for (var i = 0u; i < end_of(0u, 4u); i++) {
      if (tied[i]) { nearest[i] = round(divide(w[i], scale)); }
    }
  }
  return nearest;
}

// round(w / scale + zero) with a zero point of at most 2^bits: quotient and sum rounded to f32, then ties to even. The sum's own rounding
// leaves room in the margin above.
fn rounded_sum4(w: vec4<f32>, scale: f32, inverse: f32, zero: f32, bits: u32) -> vec4<f32> {
  let sum = w * inverse + vec4<f32>(zero);
  var nearest = round(sum);
  let tied = abs(sum - nearest) > vec4<f32>(0.5 - f32(1u << bits) * 0x1p-20);
  if (any(tied)) {
    for (var i = 0u; i < end_of(0u, 4u); i++) {
      if (tied[i]) { nearest[i] = round(divide(w[i], scale) + zero); }
    }
  }
  return nearest;
}
