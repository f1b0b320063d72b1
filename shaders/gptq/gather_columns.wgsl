// out[i, row] = w[row, order[i]]: the columns of a matrix as rows, in another order.
// #include "../common/each.wgsl"
struct Params { rows: u32, k: u32 }

@group(0) @binding(0) var<storage, read> w: array<f32>;       // [rows, k]
@group(0) @binding(1) var<storage, read> order: array<u32>;   // [k]
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

fn each(at: u32) {
  if (at >= params.rows * params.k) { return; }
  out[at] = w[(at % params.rows) * params.k + order[at / params.rows]];
}
