// What every matrix kernel shares: y[t, row] = Σ_k W[row, k] · x[t, k] (+ bias[row]), row-major, f32.
// #include "rows.wgsl"
@group(0) @binding(1) var<storage, read> bias: array<f32>; // anything readable where has_bias is 0
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> params: LinearParams;

fn biased(row: u32, sum: f32) -> f32 {
  if (params.has_bias == 0u) { return sum; }
  return sum + bias[params.row_start + stored_row(row)];
}
