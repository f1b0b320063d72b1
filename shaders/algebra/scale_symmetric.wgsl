// h[i, j] = h[i, j] · factors[i] · factors[j].
// #include "../common/grid.wgsl"
struct Params { n: u32 }

@group(0) @binding(0) var<storage, read> factors: array<f32>; // [n]
@group(0) @binding(1) var<storage, read_write> h: array<f32>; // [n, n]
@group(0) @binding(2) var<uniform> params: Params;

override WORKGROUP: u32 = 64;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(num_workgroups) num_workgroups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let at = workgroup_index(workgroup_id, num_workgroups) * WORKGROUP + thread;
  let n = params.n;
  if (at < n * n) { h[at] *= factors[at / n] * factors[at % n]; }
}
