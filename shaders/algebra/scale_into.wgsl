// out[row, column] = x[row, column] · factors[first + column], whichever way both are stored.
// #include "../common/each.wgsl"
struct Params { rows: u32, columns: u32, x_start: u32, x_row: u32, x_column: u32, out_start: u32, out_row: u32, first: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> factors: array<f32>; // [columns]
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

fn each(at: u32) {
  if (at >= params.rows * params.columns) { return; }
  let row = at / params.columns;
  let column = at % params.columns;
  out[params.out_start + row * params.out_row + column] = x[params.x_start + row * params.x_row + column * params.x_column] * factors[params.first + column];
}
