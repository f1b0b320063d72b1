// Rows of y[t, row] = Σ_k W[row, k] · x[t, k]. Kernels store rows in pairs, of which the first is even. Where GATE is set, the upper half of W lets the lower one through:
// the kernel's rows are a row of the lower half and its counterpart in turn, and a pair makes one number. Other files declare y and params, and
// `biased`, what is added to a sum.
// #include "../layers/gate.wgsl"
struct LinearParams {
  rows: u32,      // of this part of the weight
  k: u32,
  tokens: u32,
  row_start: u32, // of this part in the whole weight
  width: u32,     // of y
  has_bias: u32,
  y_start: u32,   // column of y at which the weight's rows begin
  adds: u32,      // to what y holds
}

override GATE: u32 = 0; // 1: SiLU, 2: GELU

fn row_length() -> u32 {
  return params.k;
}

fn columns() -> u32 {
  return params.k;
}

fn place(row: u32, k: u32) -> vec2<u32> {
  return vec2<u32>(row, k);
}

// Of the weight: where the kernel's row lies.
fn stored_row(row: u32) -> u32 {
  if (GATE == 0u) { return row; }
  return (row >> 1u) + select(0u, params.rows >> 1u, (row & 1u) == 1u);
}

fn put(token: u32, column: u32, value: f32) {
  let at = token * params.width + params.y_start + params.row_start + column;
  if (params.adds == 0u) { y[at] = value; } else { y[at] += value; }
}

// Rows `row` and `row + 1`.
fn store2(token: u32, row: u32, sums: vec2<f32>) {
  if (token >= params.tokens || row >= params.rows) {
    return;
  }
  if (GATE > 0u) {
    let gate = biased(row, sums.x);
    put(token, row >> 1u, select(gelu(gate), silu(gate), GATE == 1u) * biased(row + 1u, sums.y));
    return;
  }
  put(token, row, biased(row, sums.x));
  if (row + 1u < params.rows) { put(token, row + 1u, biased(row + 1u, sums.y)); }
}
