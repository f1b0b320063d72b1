// Row ids[t] of a weight in any format, times a factor, to row t of out, four weights a thread. Tokens outside rows
// row_start .. row_start + rows - 1, which this part of the weight holds, are left alone.
// #include "../common/each.wgsl"
@group(0) @binding(0) var<storage, read> ids: array<u32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

struct Params { tokens: u32, width: u32, row_start: u32, rows: u32, scale: f32 }

fn row_length() -> u32 { return params.width; }
fn columns() -> u32 { return params.width; }
fn place(row: u32, k: u32) -> vec2<u32> { return vec2<u32>(row, k); }

fn each(i: u32) {
  let quads = (params.width + 3u) / 4u;
  let token = i / quads;
  if (token >= params.tokens) { return; }
  // An id below row_start wraps to a large number.
  let row = ids[token] - params.row_start;
  if (row >= params.rows) { return; }
  let k = 4u * (i % quads);
  let w = load4(row, k);
  for (var j = 0u; j < 4u; j++) {
    if (k + j < params.width) { out[token * params.width + k + j] = w[j] * params.scale; }
  }
}
