// out = direction · part, summed over the parts: for each weight what it changes by if factors change by `direction`; [k, rows] in the order of
// `order`.
// #include "../common/each.wgsl"
// #include "parts.wgsl"
@group(0) @binding(4) var<storage, read> direction: array<f32>;  // [parts, slots / unit, rows]
@group(0) @binding(5) var<storage, read> order: array<u32>;      // [k]
@group(0) @binding(6) var<storage, read_write> out: array<f32>;  // [k, rows]
@group(0) @binding(7) var<uniform> params: Params;

override PARTS: u32 = 1;

fn each(at: u32) {
  if (at >= params.k * params.rows) { return; }
  let column = order[at / params.rows];
  let system = group_at(at, column) * params.group / params.unit * params.rows + at % params.rows;
  var sum = direction[system] * value(at);
  if (PARTS == 2u) { sum += direction[params.slots / params.unit * params.rows + system] * offset_of(at, column); }
  out[at] = sum;
}
