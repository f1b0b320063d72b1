// Where sums of products with sparse matrices go. Other files declare params.
@group(0) @binding(2) var<storage, read> bias: array<f32>; // anything readable where has_bias is 0
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

fn store(token: u32, row: u32, sum: f32) {
  if (token >= params.tokens || row >= params.rows) { return; }
  var value = sum;
  if (params.has_bias > 0u) { value += bias[params.row_start + row]; }
  let at = token * params.width + params.y_start + params.row_start + row;
  if (params.adds == 0u) { y[at] = value; } else { y[at] += value; }
}
