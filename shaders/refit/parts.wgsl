// The two parts of a weight w − error whose factors are fitted: 0, all of it; 1, its offset alone, of formats that store one.
@group(0) @binding(0) var<storage, read> w: array<f32>;            // [k, rows]
@group(0) @binding(1) var<storage, read> errors: array<f32>;       // [k, rows]
@group(0) @binding(2) var<storage, read> grid: array<vec2<f32>>;   // [rows, k / group]: scale, offset

struct Params { k: u32, rows: u32, unit: u32, group: u32, first_row: u32, grid_width: u32 }

// Of the weight at `at` of [k, rows], which is in this column of the matrix.
fn value(at: u32) -> f32 {
  return w[at] - errors[at];
}

fn offset_of(at: u32, column: u32) -> f32 {
  return grid[(params.first_row + at % params.rows) * params.grid_width + column / params.group].y;
}
