// y = cap * tanh(y / cap) in place, an element a thread.
// #include "../common/each.wgsl"
// #include "soft_cap_value.wgsl"
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@group(0) @binding(1) var<uniform> params: Params;

struct Params { count: u32, cap: f32 }

fn each(i: u32) {
  if (i >= params.count) { return; }
  y[i] = soft_cap(vec4<f32>(y[i]), params.cap).x;
}
