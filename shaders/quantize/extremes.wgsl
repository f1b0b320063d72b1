// The extremes of a group by integer comparison, which flushed subnormals and zero signs can't disturb: as signed
// integers, the bits of positive floats are ordered and those of negative ones are below zero.

fn largest(v: vec4<i32>) -> i32 {
  return max(max(v.x, v.y), max(v.z, v.w));
}

// Bits of max(w, 0) and of max(−w, 0).
fn extremes(first: u32, length: u32) -> vec2<i32> {
  var high = vec4<i32>(0);
  var low = vec4<i32>(0);
  for (var i = 0u; i < length; i += 4u) {
    let bits = bitcast<vec4<i32>>(load4_aligned(0u, first + i));
    high = max(high, bits);
    low = max(low, bits ^ vec4<i32>(-0x7fffffff - 1));
  }
  return vec2<i32>(largest(high), largest(low));
}

// Whether the first weight of largest magnitude is negative.
fn extreme_is_negative(first: u32, length: u32, bounds: vec2<i32>) -> bool {
  if (bounds.x != bounds.y || bounds.x == 0) { return bounds.y > bounds.x; }
  for (var i = first; i < end_of(first, length); i += 4u) {
    let bits = bitcast<vec4<i32>>(load4_aligned(0u, i));
    let extreme = (bits & vec4<i32>(0x7fffffff)) == vec4<i32>(bounds.x);
    if (any(extreme)) { return bits[first_of(extreme)] < 0; }
  }
  return false;
}
