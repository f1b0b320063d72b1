// out[unit, row] = Σ (w − error) · y over the weights of a unit; y and the weights are [k, rows], column c of the matrix in row place[c].
// With DIAGONAL, y is the matrix H [k, k] in that order, and the sum is Σ (w − error)² H[c, c].
// #include "../common/each.wgsl"
struct Params { k: u32, rows: u32, unit: u32 }

@group(0) @binding(0) var<storage, read> w: array<f32>;
@group(0) @binding(1) var<storage, read> errors: array<f32>;
@group(0) @binding(2) var<storage, read> y: array<f32>;
@group(0) @binding(3) var<storage, read> place: array<u32>;      // [k]
@group(0) @binding(4) var<storage, read_write> out: array<f32>;  // [k / unit, rows]
@group(0) @binding(5) var<uniform> params: Params;

override DIAGONAL: bool = false;

fn each(index: u32) {
  if (index >= params.k / params.unit * params.rows) { return; }
  let row = index % params.rows;
  let first = index / params.rows * params.unit;
  var sum = 0.0;
  for (var i = first; i < first + params.unit; i++) {
    let at = place[i] * params.rows + row;
    let value = w[at] - errors[at];
    if (DIAGONAL) { sum += value * value * y[place[i] * (params.k + 1u)]; } else { sum += value * y[at]; }
  }
  out[index] = sum;
}
