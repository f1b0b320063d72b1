// out[i, j] = h[order[i], order[j]], with `damping` added on the diagonal.
// #include "../common/grid.wgsl"
struct Params { n: u32, damping: f32 }

@group(0) @binding(0) var<storage, read> h: array<f32>;       // [n, n]
@group(0) @binding(1) var<storage, read> order: array<u32>;   // [n]
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
  let n = params.n;
  if (at >= n * n) { return; }
  let row = at / n;
  let column = at % n;
  out[at] = h[order[row] * n + order[column]] + select(0.0, params.damping, row == column);
}
