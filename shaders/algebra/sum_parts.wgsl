// C = keep · C + Σ parts: the results of the parts of a product, added in order, sixteen at a time and then those.
// #include "../common/each.wgsl"
struct Params { rows: u32, columns: u32, parts: u32, c_start: u32, c_row: u32, c_column: u32, keep: f32 }

@group(0) @binding(0) var<storage, read> given: array<f32>; // [parts, rows, columns]
@group(0) @binding(1) var<storage, read_write> c: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

const STRETCH = 16u;

fn each(at: u32) {
  let size = params.rows * params.columns;
  if (at >= size) { return; }
  var sum = 0.0;
  for (var start = 0u; start < params.parts; start += STRETCH) {
    var some = 0.0;
    for (var i = start; i < min(start + STRETCH, params.parts); i++) { some += given[i * size + at]; }
    sum += some;
  }
  let place = params.c_start + at / params.columns * params.c_row + at % params.columns * params.c_column;
  if (params.keep != 0.0) { sum += params.keep * c[place]; }
  c[place] = sum;
}
