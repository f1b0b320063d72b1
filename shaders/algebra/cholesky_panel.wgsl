// The rest of a block's rows of the upper factor: forward substitution with the block on the diagonal, a thread for each column to the right.
// The factor is mirrored below the diagonal.
struct Params { n: u32, start: u32, count: u32, least: f32 }

@group(0) @binding(0) var<storage, read> done: array<f32>;          // [count, n − start]: what the rows above contribute
@group(0) @binding(1) var<storage, read_write> m: array<f32>;       // [n, n]
@group(0) @binding(2) var<uniform> params: Params;

const BLOCK = 32u;
override WORKGROUP: u32 = 64;

var<workgroup> block: array<f32, 1024>;
var<private> solved: array<f32, BLOCK>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let count = params.count;
  let start = params.start;
  for (var i = thread; i < BLOCK * count; i += WORKGROUP) {
    let column = i % BLOCK;
    if (column < count) { block[i] = m[(start + i / BLOCK) * params.n + start + column]; }
  }
  workgroupBarrier();
  let column = start + count + workgroup.x * WORKGROUP + thread;
  if (column >= params.n) { return; }
  let width = params.n - start;
  for (var i = 0u; i < count; i++) {
    var value = m[(start + i) * params.n + column] - done[i * width + column - start];
    for (var k = 0u; k < i; k++) { value -= block[BLOCK * k + i] * solved[k]; }
    value /= block[BLOCK * i + i];
    solved[i] = value;
    m[(start + i) * params.n + column] = value;
    m[column * params.n + start + i] = value;
  }
}
