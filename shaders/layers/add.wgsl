// out = a + b, an element a thread.
// #include "../common/grid.wgsl"
@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

struct Params { count: u32 }

override WORKGROUP: u32 = 256;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(num_workgroups) num_workgroups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = workgroup_index(workgroup_id, num_workgroups) * WORKGROUP + thread;
  if (i >= params.count) { return; }
  out[i] = a[i] + b[i];
}
