// out = gelu(gate) * up.
// #include "gated_body.wgsl"

fn activation(x: f32) -> f32 {
  return gelu(x);
}
