// out[i, row] = w[row, order[i]]: the columns of a matrix as rows, in another order.
// #include "../common/grid.wgsl"
struct Params { rows: u32, k: u32 }

@group(0) @binding(0) var<storage, read> w: array<f32>;       // [rows, k]
@group(0) @binding(1) var<storage, read> order: array<u32>;   // [k]
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
  if (at >= params.rows * params.k) { return; }
  out[at] = w[(at % params.rows) * params.k + order[at / params.rows]];
}
