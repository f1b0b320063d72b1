// out = silu(gate) * up.
// #include "gated_body.wgsl"

fn activation(x: f32) -> f32 {
  return silu(x);
}
