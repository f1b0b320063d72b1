// out = activation(gate) * up, an element a thread; the kernel defines the activation.
// #include "../common/each.wgsl"
@group(0) @binding(0) var<storage, read> gate: array<f32>;
@group(0) @binding(1) var<storage, read> up: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

struct Params { count: u32 }

// x * sigmoid(t) for t of the sign of x, given |t|. It takes exp of negative numbers only, so nothing overflows.
fn times_sigmoid(x: f32, magnitude: f32) -> f32 {
  let e = select(0.0, exp(max(-magnitude, -104.0)), magnitude < 104.0);
  return x * (select(e, 1.0, x >= 0.0) / (1.0 + e));
}

fn each(i: u32) {
  if (i >= params.count) { return; }
  out[i] = activation(gate[i]) * up[i];
}
