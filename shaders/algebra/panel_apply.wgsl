// Down the tree of a tall-skinny QR: each block of 64 rows x 16 columns is multiplied by the 16 x 16 that the level above has for it. A thread a row.
struct Params { rows: u32, columns: u32, start: u32, width: u32 }

@group(0) @binding(0) var<storage, read> above: array<f32>;    // [16 · workgroups, 16]
@group(0) @binding(1) var<storage, read_write> x: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

var<workgroup> factor: array<f32, 256>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  for (var at = thread; at < 256u; at += 64u) { factor[at] = above[group.x * 256u + at]; }
  workgroupBarrier();
  let row = group.x * 64u + thread;
  if (row >= params.rows) { return; }
  let start = params.start + row * params.width;
  var values: array<f32, 16>;
  for (var i = 0u; i < params.columns; i++) { values[i] = x[start + i]; }
  for (var j = 0u; j < params.columns; j++) {
    var sum = 0.0;
    for (var i = 0u; i < params.columns; i++) { sum += values[i] * factor[i * 16u + j]; }
    x[start + j] = sum;
  }
}
