// out = gelu(gate) * up in the tanh form: 1 + tanh(u) is 2 * sigmoid(2u), which cancels nothing.
// #include "gated_body.wgsl"

fn activation(x: f32) -> f32 {
  // From 12 on, exp(-2u) is below 2^-149 and the cube would only overflow.
  let a = min(abs(x), 12.0);
  return times_sigmoid(x, 1.5957691216057308 * a * (1.0 + 0.044715 * a * a));
}
