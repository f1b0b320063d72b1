// What a block of columns holds where a mask leaves weights out, one after another from the last, a thread for each row: a weight that stays becomes
//   w + (Σ error · m[r, column] over the other columns r) / m[column, column]
// and the others 0, where `error` is what was lost in a column so far. With m the Cholesky factor, mirrored, and errors that begin at zero, this is
// SparseGPT's update; with m = H it is a round of coordinate descent on the same objective (src/kernels/refit-kept.ts).
struct Params { n: u32, rows: u32, start: u32, count: u32, words: u32 }

@group(0) @binding(0) var<storage, read> m: array<f32>;            // [n, n]
@group(0) @binding(1) var<storage, read> given: array<f32>;        // [count, rows]: Σ error · m over the columns that it was made of
@group(0) @binding(2) var<storage, read> w: array<f32>;            // [n, rows]
@group(0) @binding(3) var<storage, read> order: array<u32>;        // [n]: columns of the matrix
@group(0) @binding(4) var<storage, read> mask: array<u32>;         // [rows, words]
@group(0) @binding(5) var<storage, read_write> errors: array<f32>; // [n, rows]
@group(0) @binding(6) var<uniform> params: Params;

override WORKGROUP: u32 = 64;
const BLOCK = 32u;

var<workgroup> block: array<f32, 1024>;
var<private> sums: array<f32, BLOCK>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let count = params.count;
  let start = params.start;
  for (var i = thread; i < BLOCK * count; i += WORKGROUP) {
    let column = i % BLOCK;
    if (column < count) { block[i] = m[(start + i / BLOCK) * params.n + start + column]; }
  }
  workgroupBarrier();
  let row = workgroup.x * WORKGROUP + thread;
  if (row >= params.rows) { return; }
  for (var i = 0u; i < count; i++) { sums[i] = given[i * params.rows + row]; }
  for (var left = count; left > 0u; left--) {
    let i = left - 1u;
    let at = (start + i) * params.rows + row;
    let column = order[start + i];
    let kept = ((mask[row * params.words + (column >> 5u)] >> (column & 31u)) & 1u) == 1u;
    let pivot = block[BLOCK * i + i];
    let before = errors[at];
    let after = select(w[at], -(sums[i] - before * pivot) / pivot, kept);
    errors[at] = after;
    let change = after - before;
    for (var j = 0u; j < i; j++) { sums[j] += change * block[BLOCK * i + j]; }
  }
}
