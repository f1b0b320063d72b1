// out[row] = the norm of a row, a workgroup each.
struct Params { length: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>; // [rows, length]
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

const THREADS = 64u;
var<workgroup> sums: array<f32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  var sum = 0.0;
  for (var i = thread; i < params.length; i += THREADS) {
    let value = x[group.x * params.length + i];
    sum += value * value;
  }
  sums[thread] = sum;
  workgroupBarrier();
  if (thread != 0u) { return; }
  for (var i = 1u; i < THREADS; i++) { sum += sums[i]; }
  out[group.x] = sqrt(sum);
}
