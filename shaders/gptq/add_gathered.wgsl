// w[row, column] += share · x[row, place[column]].
// #include "../common/each.wgsl"
struct Params { rows: u32, k: u32, share: f32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;       // [rows, k]
@group(0) @binding(1) var<storage, read> place: array<u32>;   // [k]
@group(0) @binding(2) var<storage, read_write> w: array<f32>; // [rows, k]
@group(0) @binding(3) var<uniform> params: Params;

fn each(at: u32) {
  if (at >= params.rows * params.k) { return; }
  let column = at % params.k;
  w[at] += params.share * x[at - column + place[column]];
}
