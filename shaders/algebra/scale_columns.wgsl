// out[row, column] = x[row, column] · factors[column].
// #include "../common/grid.wgsl"
struct Params { count: u32, width: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> factors: array<f32>; // [width]
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

override WORKGROUP: u32 = 64;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(num_workgroups) num_workgroups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let at = workgroup_index(workgroup_id, num_workgroups) * WORKGROUP + thread;
  if (at < params.count) { out[at] = x[at] * factors[at % params.width]; }
}
