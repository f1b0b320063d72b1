// The two parts of a weight w − error whose factors are fitted: 0, all of it; 1, its offset alone, of formats that store one.
// #include "../gptq/marks.wgsl"
@group(0) @binding(0) var<storage, read> w: array<f32>;            // [k, rows]
@group(0) @binding(1) var<storage, read> errors: array<f32>;       // [k, rows]
@group(0) @binding(2) var<storage, read> grid: array<vec2<f32>>;   // [rows, slots / group]: scale, offset
@group(0) @binding(3) var<storage, read> chosen: array<u32>;       // [k, rows]: MARKED, marks above codes

struct Params {
  k: u32,
  rows: u32,
  unit: u32,
  group: u32,
  first_row: u32,
  slots: u32, // of a row: weights that are stored; k unless they are packed
  keep: u32,  // where they are packed: slots of a group of `of_` columns; else 1 of 1
  of_: u32,
}

override MARKED: bool = false;

// Of the weight at `at` of [k, rows], which is in this column of the matrix.
fn value(at: u32) -> f32 {
  return w[at] - errors[at];
}

fn stored(at: u32) -> bool {
  return !MARKED || (chosen[at] & ABSENT) == 0u;
}

// The group whose scale it has.
fn group_at(at: u32, column: u32) -> u32 {
  if (MARKED) { return group_of(chosen[at]); }
  return column / params.group;
}

fn offset_of(at: u32, column: u32) -> f32 {
  if (!stored(at)) { return 0.0; }
  return grid[(params.first_row + at % params.rows) * (params.slots / params.group) + group_at(at, column)].y;
}
