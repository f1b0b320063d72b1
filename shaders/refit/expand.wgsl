// out = direction · (w − error): for each weight its value times what its unit's scale changes by, [k, rows] in the order of `order`.
// #include "../common/each.wgsl"
struct Params { k: u32, rows: u32, unit: u32 }

@group(0) @binding(0) var<storage, read> w: array<f32>;          // [k, rows]
@group(0) @binding(1) var<storage, read> errors: array<f32>;     // [k, rows]
@group(0) @binding(2) var<storage, read> direction: array<f32>;  // [k / unit, rows]
@group(0) @binding(3) var<storage, read> order: array<u32>;      // [k]
@group(0) @binding(4) var<storage, read_write> out: array<f32>;  // [k, rows]
@group(0) @binding(5) var<uniform> params: Params;

fn each(at: u32) {
  if (at >= params.k * params.rows) { return; }
  let unit = order[at / params.rows] / params.unit;
  out[at] = direction[unit * params.rows + at % params.rows] * (w[at] - errors[at]);
}
