// y = cap * tanh(y / cap) in place, an element a thread.
// #include "../common/grid.wgsl"
// #include "soft_cap_value.wgsl"
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@group(0) @binding(1) var<uniform> params: Params;

struct Params { count: u32, cap: f32 }

override WORKGROUP: u32 = 256;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(num_workgroups) num_workgroups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = workgroup_index(workgroup_id, num_workgroups) * WORKGROUP + thread;
  if (i >= params.count) { return; }
  y[i] = soft_cap(vec4<f32>(y[i]), params.cap).x;
}
