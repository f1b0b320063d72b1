// A step of conjugate gradients for every row by itself (Shewchuk 1994, B3), preconditioned by the diagonal. The first call, with FIRST, takes the
// residual as it is and makes the first direction. All arrays are [units, rows]; a thread for each row.
// #include "../common/each.wgsl"
struct Params { units: u32, rows: u32 }

@group(0) @binding(0) var<storage, read> product: array<f32>;         // A · direction; with FIRST, the residual
@group(0) @binding(1) var<storage, read> diagonal: array<f32>;        // of A, or something like it
@group(0) @binding(2) var<storage, read_write> solution: array<f32>;
@group(0) @binding(3) var<storage, read_write> residual: array<f32>;
@group(0) @binding(4) var<storage, read_write> direction: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

override FIRST: bool = false;

fn preconditioned(at: u32, value: f32) -> f32 {
  let d = diagonal[at];
  // A unit whose values are all zero has nothing to solve for.
  return select(0.0, value / d, d > 0x1p-100);
}

fn each(row: u32) {
  let rows = params.rows;
  if (row >= rows) { return; }
  let end = params.units * rows;
  if (FIRST) {
    for (var at = row; at < end; at += rows) {
      let r = product[at];
      residual[at] = r;
      solution[at] = 0.0;
      direction[at] = preconditioned(at, r);
    }
    return;
  }
  var before = 0.0;
  var curvature = 0.0;
  for (var at = row; at < end; at += rows) {
    let r = residual[at];
    before += r * preconditioned(at, r);
    curvature += direction[at] * product[at];
  }
  // Solved already, or rounding is all that is left.
  let length = select(0.0, before / curvature, curvature > 0.0 && before > 0.0);
  var after = 0.0;
  for (var at = row; at < end; at += rows) {
    solution[at] += length * direction[at];
    let r = residual[at] - length * product[at];
    residual[at] = r;
    after += r * preconditioned(at, r);
  }
  let turn = select(0.0, after / before, before > 0.0);
  for (var at = row; at < end; at += rows) {
    direction[at] = preconditioned(at, residual[at]) + turn * direction[at];
  }
}
