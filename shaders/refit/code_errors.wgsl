// errors = w − (scale · level + offset) of the codes that there are, [k, rows] in the order of `order`.
// #include "../common/each.wgsl"
struct Params { k: u32, rows: u32, group: u32, first_row: u32, grid_width: u32 }

@group(0) @binding(0) var<storage, read> w: array<f32>;            // [k, rows]
@group(0) @binding(1) var<storage, read> chosen: array<u32>;       // [k, rows]
@group(0) @binding(2) var<storage, read> grid: array<vec2<f32>>;   // [rows, k / group]: scale, offset
@group(0) @binding(3) var<storage, read> order: array<u32>;        // [k]
@group(0) @binding(4) var<storage, read> levels: array<f32>;       // by code
@group(0) @binding(5) var<storage, read_write> errors: array<f32>; // [k, rows]
@group(0) @binding(6) var<uniform> params: Params;

fn each(at: u32) {
  if (at >= params.k * params.rows) { return; }
  let row = params.first_row + at % params.rows;
  let pair = grid[row * params.grid_width + order[at / params.rows] / params.group];
  errors[at] = w[at] - (pair.x * levels[chosen[at]] + pair.y);
}
