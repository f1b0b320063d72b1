// A level of the tall-skinny QR tree (Demmel, Grigori, Hoemmen, Langou 2012): each workgroup factors 64 rows x 16 columns by Householder reflections. The
// orthonormal factor takes the place of the rows, the triangular one, with a diagonal that is not negative, becomes 16 rows of the next level.
// Rows and columns that are not there count as zeros.
struct Params { rows: u32, columns: u32, start: u32, width: u32 }

@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> r: array<f32>; // [16 · workgroups, 16]
@group(0) @binding(2) var<uniform> params: Params;

const ROWS = 64u;
const COLUMNS = 16u;
const QUARTER = 16u; // rows of a thread, which has one column

var<workgroup> v: array<f32, 1024>; // above the diagonal R, on and below it the reflectors, not scaled
var<workgroup> q: array<f32, 1024>;
var<workgroup> sums: array<f32, 64>;
var<workgroup> heads: array<f32, 16>;     // what a reflector's first element is divided by to be 1
var<workgroup> taus: array<f32, 16>;
var<workgroup> diagonal: array<f32, 16>;

fn total(column: u32) -> f32 {
  return (sums[column] + sums[16u + column]) + (sums[32u + column] + sums[48u + column]);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let column = thread & 15u;
  let top = (thread >> 4u) * QUARTER;
  let first = group.x * ROWS;
  for (var i = top; i < top + QUARTER; i++) {
    var value = 0.0;
    if (first + i < params.rows && column < params.columns) { value = x[params.start + (first + i) * params.width + column]; }
    v[i * COLUMNS + column] = value;
    q[i * COLUMNS + column] = select(0.0, 1.0, i == column);
  }
  workgroupBarrier();
  for (var j = 0u; j < COLUMNS; j++) {
    var sum = 0.0;
    for (var i = max(top, j + 1u); i < top + QUARTER; i++) { sum += v[i * COLUMNS + j] * v[i * COLUMNS + column]; }
    sums[thread] = sum;
    workgroupBarrier();
    let alpha = v[j * COLUMNS + j];
    let below = total(j);
    let products = total(column);
    let head = v[j * COLUMNS + column];
    workgroupBarrier();
    let beta = select(sqrt(alpha * alpha + below), -sqrt(alpha * alpha + below), alpha > 0.0);
    let turns = below > 0.0;
    let divisor = select(1.0, alpha - beta, turns);
    let tau = select(0.0, (beta - alpha) / beta, turns);
    if (thread == j) {
      heads[j] = divisor;
      taus[j] = tau;
      diagonal[j] = select(alpha, beta, turns);
    }
    let weight = tau * (head + products / divisor);
    if (column > j && turns) {
      for (var i = max(top, j); i < top + QUARTER; i++) {
        let reflector = select(v[i * COLUMNS + j] / divisor, 1.0, i == j);
        v[i * COLUMNS + column] -= weight * reflector;
      }
    }
    workgroupBarrier();
  }
  for (var back = 0u; back < COLUMNS; back++) {
    let j = COLUMNS - 1u - back;
    var sum = 0.0;
    for (var i = max(top, j + 1u); i < top + QUARTER; i++) { sum += v[i * COLUMNS + j] * q[i * COLUMNS + column]; }
    sums[thread] = sum;
    workgroupBarrier();
    let divisor = heads[j];
    let weight = taus[j] * (q[j * COLUMNS + column] + total(column) / divisor);
    workgroupBarrier();
    for (var i = max(top, j); i < top + QUARTER; i++) {
      let reflector = select(v[i * COLUMNS + j] / divisor, 1.0, i == j);
      q[i * COLUMNS + column] -= weight * reflector;
    }
    workgroupBarrier();
  }
  let sign = select(1.0, -1.0, diagonal[column] < 0.0);
  for (var i = top; i < top + QUARTER; i++) {
    if (first + i < params.rows && column < params.columns) {
      x[params.start + (first + i) * params.width + column] = sign * q[i * COLUMNS + column];
    }
  }
  if (top > 0u) { return; }
  for (var i = 0u; i < COLUMNS; i++) {
    let row_sign = select(1.0, -1.0, diagonal[i] < 0.0);
    let value = select(select(0.0, row_sign * v[i * COLUMNS + column], i < column), abs(diagonal[i]), i == column);
    r[(group.x * COLUMNS + i) * COLUMNS + column] = value;
  }
}
