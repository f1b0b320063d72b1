// out[row] = Σ a · b over a row. A thread for each row; sums run over 32 columns at a time.
// #include "../common/grid.wgsl"
struct Params { rows: u32, width: u32 }

@group(0) @binding(0) var<storage, read> a: array<f32>;   // [rows, width]
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

override WORKGROUP: u32 = 64;
const STRETCH = 32u;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(num_workgroups) num_workgroups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let row = workgroup_index(workgroup_id, num_workgroups) * WORKGROUP + thread;
  if (row >= params.rows) { return; }
  let first = row * params.width;
  var sum = 0.0;
  for (var start = 0u; start < params.width; start += STRETCH) {
    var part = 0.0;
    for (var i = start; i < min(start + STRETCH, params.width); i++) { part += a[first + i] * b[first + i]; }
    sum += part;
  }
  out[row] = sum;
}
