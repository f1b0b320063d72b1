// errors = w − (scale · level + offset) of the codes that there are, [k, rows] in the order of `order`.
// MARKED, a code's group stands beside it, and weights that are not stored are 0.
// #include "../common/each.wgsl"
// #include "../gptq/marks.wgsl"
struct Params { k: u32, rows: u32, group: u32, first_row: u32, grid_width: u32 }

@group(0) @binding(0) var<storage, read> w: array<f32>;            // [k, rows]
@group(0) @binding(1) var<storage, read> chosen: array<u32>;       // [k, rows]
@group(0) @binding(2) var<storage, read> grid: array<vec2<f32>>;   // [rows, k / group]: scale, offset
@group(0) @binding(3) var<storage, read> order: array<u32>;        // [k]
@group(0) @binding(4) var<storage, read> levels: array<f32>;       // by code
@group(0) @binding(5) var<storage, read_write> errors: array<f32>; // [k, rows]
@group(0) @binding(6) var<uniform> params: Params;

override MARKED: bool = false;

fn each(at: u32) {
  if (at >= params.k * params.rows) { return; }
  let row = params.first_row + at % params.rows;
  let mark = chosen[at];
  var group = order[at / params.rows] / params.group;
  if (MARKED) { group = group_of(mark); }
  let pair = grid[row * params.grid_width + group];
  let value = pair.x * levels[mark & 0xffu] + pair.y;
  errors[at] = w[at] - select(value, 0.0, MARKED && (mark & ABSENT) != 0u);
}
