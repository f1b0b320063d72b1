// What gates a value: x * sigmoid(t).
// x * sigmoid(t) for t of the sign of x, given |t|. It takes exp of negative numbers only, so nothing overflows.
fn times_sigmoid(x: f32, magnitude: f32) -> f32 {
  let e = select(0.0, exp(max(-magnitude, -104.0)), magnitude < 104.0);
  return x * (select(e, 1.0, x >= 0.0) / (1.0 + e));
}

fn silu(x: f32) -> f32 {
  return times_sigmoid(x, abs(x));
}

// In the tanh form: 1 + tanh(u) is 2 * sigmoid(2u), which cancels nothing.
fn gelu(x: f32) -> f32 {
  // From 12 on, exp(-2u) is below 2^-149 and the cube would only overflow.
  let a = min(abs(x), 12.0);
  return times_sigmoid(x, 1.5957691216057308 * a * (1.0 + 0.044715 * a * a));
}
