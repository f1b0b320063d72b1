// C = C · keep + Aᵀ B · factor over rows first .. end − 1 of A and B: a thread owns 8 x 8 elements and walks down the rows, 64 multiply-adds for
// four loads. Sums run over 32 rows at a time, and their results are added up by themselves: rounding grows with 32 + rows / 32.
// Where C is symmetric, blocks above the diagonal are mirrored.
struct Params {
  rows: u32,        // of C: columns of A that take part
  columns: u32,     // of C: columns of B that take part
  first: u32,
  end: u32,
  a_width: u32,     // elements in a row of A
  a_start: u32,     // the first column of A
  b_width: u32,
  b_start: u32,
  c_width: u32,
  symmetric: u32,
  keep: f32,
  factor: f32,
}

@group(0) @binding(2) var<storage, read_write> c: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

const STRETCH = 32u;

// Products of four elements of A, a row each, with four of B.
fn outer(x: vec4<f32>, y: vec4<f32>) -> mat4x4<f32> {
  return mat4x4<f32>(x.x * y, x.y * y, x.z * y, x.w * y);
}

fn store(row: u32, column: u32, value: f32) {
  // Of a symmetric block on the diagonal one half is enough.
  if (params.symmetric != 0u && column > row) { return; }
  let at = row * params.c_width + column;
  var result = params.factor * value;
  // Not a product with zero: what a buffer held before may be NaN.
  if (params.keep != 0.0) { result += params.keep * c[at]; }
  c[at] = result;
  if (params.symmetric != 0u) { c[column * params.c_width + row] = result; }
}

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let column = id.x * 8u;
  let row = id.y * 8u;
  if (row >= params.rows || column >= params.columns || (params.symmetric != 0u && column > row)) { return; }
  var low_low = mat4x4<f32>();
  var low_high = mat4x4<f32>();
  var high_low = mat4x4<f32>();
  var high_high = mat4x4<f32>();
  for (var start = params.first; start < params.end; start += STRETCH) {
    var ll = mat4x4<f32>();
    var lh = mat4x4<f32>();
    var hl = mat4x4<f32>();
    var hh = mat4x4<f32>();
    for (var t = start; t < min(start + STRETCH, params.end); t++) {
      let al = a4(t, row);
      let ah = a4(t, row + 4u);
      let bl = b4(t, column);
      let bh = b4(t, column + 4u);
      ll += outer(al, bl);
      lh += outer(al, bh);
      hl += outer(ah, bl);
      hh += outer(ah, bh);
    }
    low_low += ll;
    low_high += lh;
    high_low += hl;
    high_high += hh;
  }
  // Stored in a loop that is not unrolled: software devices compile stores slowly.
  var lows = array<mat4x4<f32>, 2>(low_low, high_low);
  var highs = array<mat4x4<f32>, 2>(low_high, high_high);
  for (var i = 0u; i < min(8u, params.rows - row); i++) {
    let low = lows[i >> 2u][i & 3u];
    let high = highs[i >> 2u][i & 3u];
    for (var j = 0u; j < min(8u, params.columns - column); j++) {
      store(row + i, column + j, select(low[j & 3u], high[j & 3u], j >= 4u));
    }
  }
}
