// What every matrix kernel shares: y[t, row] = Σ_k W[row, k] · x[t, k] (+ bias[row]), row-major, f32.
struct LinearParams {
  rows: u32,      // of this part of the weight
  k: u32,
  tokens: u32,
  row_start: u32, // of this part in the whole weight
  width: u32,     // of y: rows of the whole weight
  has_bias: u32,
}

@group(0) @binding(1) var<storage, read> bias: array<f32>; // anything readable where has_bias is 0
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> params: LinearParams;

fn row_length() -> u32 {
  return params.k;
}

fn columns() -> u32 {
  return params.k;
}

fn place(row: u32, k: u32) -> vec2<u32> {
  return vec2<u32>(row, k);
}

fn store(token: u32, row: u32, value: f32) {
  if (token >= params.tokens || row >= params.rows) {
    return;
  }
  let column = params.row_start + row;
  var sum = value;
  if (params.has_bias != 0u) {
    sum += bias[column];
  }
  y[token * params.width + column] = sum;
}
