// out[part, unit, row] = Σ part · y over the weights of a unit; y and the weights are [k, rows], column c of the matrix in row place[c].
// With DIAGONAL, y is the matrix H [k, k] in that order, and the sum is Σ part² H[c, c].
// #include "../common/each.wgsl"
// #include "parts.wgsl"
@group(0) @binding(3) var<storage, read> y: array<f32>;
@group(0) @binding(4) var<storage, read> place: array<u32>;      // [k]
@group(0) @binding(5) var<storage, read_write> out: array<f32>;  // [parts, k / unit, rows]
@group(0) @binding(6) var<uniform> params: Params;

override PARTS: u32 = 1;
override DIAGONAL: bool = false;

fn each(index: u32) {
  let systems = params.k / params.unit * params.rows;
  if (index >= PARTS * systems) { return; }
  let first = index % systems / params.rows * params.unit;
  var sum = 0.0;
  for (var column = first; column < first + params.unit; column++) {
    let at = place[column] * params.rows + index % params.rows;
    var part = 0.0;
    if (PARTS == 1u || index < systems) { part = value(at); } else { part = offset_of(at, column); }
    if (DIAGONAL) { sum += part * part * y[place[column] * (params.k + 1u)]; } else { sum += part * y[at]; }
  }
  out[index] = sum;
}
