// out[part, unit, row] = Σ part · y over the weights of a unit; y and the weights are [k, rows], column c of the matrix in row place[c]. Where weights are packed,
// a row's unit has columns of its own, among those of the groups that its slots belong to.
// With DIAGONAL, y is the matrix H [k, k] in that order, and the sum is Σ part² H[c, c].
// #include "../common/each.wgsl"
// #include "parts.wgsl"
@group(0) @binding(4) var<storage, read> y: array<f32>;
@group(0) @binding(5) var<storage, read> place: array<u32>;      // [k]
@group(0) @binding(6) var<storage, read_write> out: array<f32>;  // [parts, slots / unit, rows]
@group(0) @binding(7) var<uniform> params: Params;

override PARTS: u32 = 1;
override DIAGONAL: bool = false;

fn each(index: u32) {
  let systems = params.slots / params.unit * params.rows;
  if (index >= PARTS * systems) { return; }
  let unit = index % systems / params.rows;
  let first = unit * params.unit / params.keep * params.of_;
  let end = min(((unit + 1u) * params.unit + params.keep - 1u) / params.keep * params.of_, params.k);
  var sum = 0.0;
  for (var column = first; column < end; column++) {
    let at = place[column] * params.rows + index % params.rows;
    if (MARKED && (!stored(at) || group_of(chosen[at]) * params.group / params.unit != unit)) { continue; }
    var part = 0.0;
    if (PARTS == 1u || index < systems) { part = value(at); } else { part = offset_of(at, column); }
    if (DIAGONAL) { sum += part * part * y[place[column] * (params.k + 1u)]; } else { sum += part * y[at]; }
  }
  out[index] = sum;
}
