// Codes of a block of columns, one after another from the last, a thread for each row. A column takes the level nearest to
//   w + (Σ error · m[r, column] over the other columns r) / m[column, column]
// where `error` is what was lost in a column so far. With m the Cholesky factor, mirrored, and errors that begin at zero, this is GPTQ; with m = H it is
// a round of coordinate descent on the same objective (src/kernels/choose-codes.ts). ALONE, each takes the level nearest to w. MARKED, those that a mask leaves
// out take the level nearest to 0, or are 0 where none is stored for them.
// #include "marks.wgsl"
struct Params {
  n: u32,
  rows: u32,
  start: u32,      // the block's first column
  count: u32,
  group: u32,      // weights that share a scale and an offset
  levels: u32,
  first_row: u32,  // of the matrix that `grid` is of
  grid_width: u32, // groups of a row
  lowest: f32,     // with uniform levels, one apart: the first
}

@group(0) @binding(0) var<storage, read> m: array<f32>;            // [n, n]
@group(0) @binding(1) var<storage, read> given: array<f32>;        // [count, rows]: Σ error · m over the columns that it was made of
@group(0) @binding(2) var<storage, read> w: array<f32>;            // [n, rows]
@group(0) @binding(3) var<storage, read> grid: array<vec2<f32>>;   // [rows, n / group]: scale, offset
@group(0) @binding(4) var<storage, read> order: array<u32>;        // [n]: columns of the matrix
@group(0) @binding(5) var<storage, read> table: array<vec2<f32>>;  // [levels]: a level, ascending, and its code
@group(0) @binding(6) var<storage, read_write> errors: array<f32>; // [n, rows]
@group(0) @binding(7) var<storage, read_write> chosen: array<u32>; // [n, rows]
@group(0) @binding(8) var<uniform> params: Params;

override WORKGROUP: u32 = 64;
override UNIFORM: bool = true;
override ALONE: bool = false;
override MARKED: bool = false; // chosen holds marks, which stay
const BLOCK = 32u;

var<workgroup> block: array<f32, 1024>;
var<private> sums: array<f32, BLOCK>;

// The index of the level nearest to x; of two the one above.
fn nearest(x: f32) -> u32 {
  let most = params.levels - 1u;
  if (UNIFORM) { return u32(clamp(floor(x - params.lowest + 0.5), 0.0, f32(most))); }
  // The first level from which on the middle to the next lies above x.
  var low = 0u;
  var high = most;
  while (low < high) {
    let middle = (low + high) >> 1u;
    if (x >= 0.5 * (table[middle].x + table[middle + 1u].x)) { low = middle + 1u; } else { high = middle; }
  }
  return low;
}

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
    let pivot = block[BLOCK * i + i];
    let before = errors[at];
    var wanted = select(w[at] + (sums[i] - before * pivot) / pivot, w[at], ALONE);
    var group = order[start + i] / params.group;
    var mark = 0u;
    if (MARKED) {
      mark = chosen[at] & 0xffffff00u;
      group = group_of(mark);
      if ((mark & GONE) != 0u) { wanted = 0.0; }
    }
    let pair = grid[(params.first_row + row) * params.grid_width + group];
    // A scale of zero has one value, whatever the code.
    let index = nearest(select((wanted - pair.y) / pair.x, 0.0, pair.x == 0.0));
    let level = table[index];
    let after = w[at] - select(pair.x * level.x + pair.y, 0.0, (mark & ABSENT) != 0u);
    errors[at] = after;
    chosen[at] = u32(level.y) | mark;
    let change = after - before;
    for (var j = 0u; j < i; j++) { sums[j] += change * block[BLOCK * i + j]; }
  }
}
