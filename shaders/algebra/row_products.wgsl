// out[row] = Σ a · b over a row. A thread for each row; sums run over 32 columns at a time.
// #include "../common/each.wgsl"
struct Params { rows: u32, width: u32 }

@group(0) @binding(0) var<storage, read> a: array<f32>;   // [rows, width]
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

const STRETCH = 32u;

fn each(row: u32) {
  if (row >= params.rows) { return; }
  let first = row * params.width;
  var sum = 0.0;
  for (var start = 0u; start < params.width; start += STRETCH) {
    var part = 0.0;
    for (var i = start; i < min(start + STRETCH, params.width); i++) { part += a[first + i] * b[first + i]; }
    sum += part;
  }
  out[row] = sum;
}
