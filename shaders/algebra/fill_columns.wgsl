// Norms of columns, a workgroup each. Where RECORD they are kept; else, after a factorization, the columns come back as they were before it, but for those of which it
// has left less than `least` times the norm that was kept, the diagonal of R: they depend on those before them, any direction will do in their place, and become random numbers.
// #include "gaussian.wgsl"
struct Params { rows: u32, start: u32, width: u32, seed: u32, least: f32 }

@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> norms: array<f32>;
@group(0) @binding(2) var<storage, read> r: array<f32>; // [16, 16]
@group(0) @binding(3) var<storage, read> before: array<f32>; // as x
@group(0) @binding(4) var<uniform> params: Params;

override RECORD: bool = false;
const THREADS = 64u;
var<workgroup> sums: array<f32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let column = params.start + group.x;
  if (RECORD) {
    var sum = 0.0;
    for (var row = thread; row < params.rows; row += THREADS) {
      let value = x[row * params.width + column];
      sum += value * value;
    }
    sums[thread] = sum;
    workgroupBarrier();
    if (thread > 0u) { return; }
    sum = 0.0;
    for (var i = 0u; i < THREADS; i++) { sum += sums[i]; }
    norms[group.x] = sqrt(sum);
    return;
  }
  // Not `<`: NaN and a norm of zero are replaced, too.
  let stays = r[group.x * 17u] > params.least * norms[group.x];
  for (var row = thread; row < params.rows; row += THREADS) {
    let at = row * params.width + column;
    if (stays) {
      x[at] = before[at];
    } else {
      x[at] = gaussian2(params.seed, column * params.rows + row).x;
    }
  }
}
