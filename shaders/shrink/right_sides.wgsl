// out[i, row] = products[columns[i], row] + damping · weights[row, columns[i]]: what refitted columns are solved for.
// #include "../common/each.wgsl"
struct Params { n: u32, rows: u32, k: u32, damping: f32 }

@group(0) @binding(0) var<storage, read> products: array<f32>; // [k, rows]: H Wᵀ
@group(0) @binding(1) var<storage, read> weights: array<f32>;  // [rows, k]
@group(0) @binding(2) var<storage, read> columns: array<u32>;  // [n], below k
@group(0) @binding(3) var<storage, read_write> out: array<f32>; // [n, rows]
@group(0) @binding(4) var<uniform> params: Params;

fn each(at: u32) {
  if (at >= params.n * params.rows) { return; }
  let column = columns[at / params.rows];
  let row = at % params.rows;
  out[at] = products[column * params.rows + row] + params.damping * weights[row * params.k + column];
}
