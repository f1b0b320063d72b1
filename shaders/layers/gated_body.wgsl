// out = activation(gate) * up, an element a thread; the kernel defines the activation.
// #include "../common/each.wgsl"
// #include "gate.wgsl"
@group(0) @binding(0) var<storage, read> gate: array<f32>;
@group(0) @binding(1) var<storage, read> up: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

struct Params { count: u32 }

fn each(i: u32) {
  if (i >= params.count) { return; }
  out[i] = activation(gate[i]) * up[i];
}
