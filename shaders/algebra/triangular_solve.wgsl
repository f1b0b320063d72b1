// Substitution in a block of rows of U^T Z = B from the top or, BACKWARD, of U Z = B from the bottom; a thread for each column of Z, which takes the
// place of B. U is mirrored below its diagonal.
struct Params { n: u32, columns: u32, start: u32, count: u32 }

@group(0) @binding(0) var<storage, read> m: array<f32>;        // [n, n]
@group(0) @binding(1) var<storage, read> given: array<f32>;    // [count, columns]: what the rows before contribute
@group(0) @binding(2) var<storage, read_write> z: array<f32>;  // [n, columns]
@group(0) @binding(3) var<uniform> params: Params;

override WORKGROUP: u32 = 64;
override BACKWARD: bool = false;
const BLOCK = 32u;

var<workgroup> block: array<f32, 1024>;
var<private> solved: array<f32, BLOCK>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let count = params.count;
  for (var i = thread; i < BLOCK * count; i += WORKGROUP) {
    let column = i % BLOCK;
    if (column < count) { block[i] = m[(params.start + i / BLOCK) * params.n + params.start + column]; }
  }
  workgroupBarrier();
  let column = workgroup.x * WORKGROUP + thread;
  if (column >= params.columns) { return; }
  for (var step = 0u; step < count; step++) {
    let i = select(step, count - 1u - step, BACKWARD);
    let at = (params.start + i) * params.columns + column;
    var value = z[at] - given[i * params.columns + column];
    for (var before = 0u; before < step; before++) {
      let k = select(before, count - 1u - before, BACKWARD);
      value -= block[BLOCK * k + i] * solved[k];
    }
    solved[i] = value / block[BLOCK * i + i];
    z[at] = solved[i];
  }
}
