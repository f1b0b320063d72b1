// What products with packed matrices share: y[t, row] = Σ_s values[row, s] · x[t, column of s] (+ bias[row]), row-major, f32.
// #include "layout.wgsl"
// #include "store.wgsl"
struct SparseParams {
  rows: u32,      // of this part of the weight
  k: u32,
  tokens: u32,
  row_start: u32, // of this part in the whole weight
  width: u32,     // of y
  has_bias: u32,
  y_start: u32,   // column of y at which the weight's rows begin
  adds: u32,      // to what y holds
  slots: u32,     // of a row, a multiple of 16
  words: u32,     // of a band
}

@group(0) @binding(0) var<storage, read> x: array<f32>;    // [tokens, k]
@group(0) @binding(4) var<uniform> params: SparseParams;

fn row_length() -> u32 { return params.slots; }

// The column of a slot that has a place in its group. Slots behind the last group hold 0: any column will do.
fn column_of(slot: u32, place: u32) -> u32 {
  return min(slot / KEEP * OF + place, params.k - 1u);
}
