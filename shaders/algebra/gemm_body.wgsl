// A thread owns 8 x 8 elements of C: 256 multiply-adds for 16 loads of four. A workgroup of 8 x 8 threads covers 64 x 64.
fn columns_of_a(row: u32, k: u32) -> mat4x4<f32> {
  if (A_TRANSPOSED) { return a_columns(row, k); }
  return transpose(a_rows(row, k));
}

// Column i is row k + i of op(B), columns `column` on.
fn columns_of_b(column: u32, k: u32) -> mat4x4<f32> {
  if (B_TRANSPOSED) {
    return transpose(mat4x4<f32>(b_along(column, k), b_along(column + 1u, k), b_along(column + 2u, k), b_along(column + 3u, k)));
  }
  return mat4x4<f32>(b_four(column, k), b_four(column, k + 1u), b_four(column, k + 2u), b_four(column, k + 3u));
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
  let end = end_inner(id.z);
  for (var start = first_inner(id.z); start < end; start += STRETCH) {
    var ll = mat4x4<f32>();
    var lh = mat4x4<f32>();
    var hl = mat4x4<f32>();
    var hh = mat4x4<f32>();
    for (var k = start; k < min(start + STRETCH, end); k += 4u) {
      var al = columns_of_a(row, k);
      var ah = columns_of_a(row + 4u, k);
      var bl = columns_of_b(column, k);
      var bh = columns_of_b(column + 4u, k);
      if (k + 4u > params.inner) {
        al = cut_columns(al, k);
        ah = cut_columns(ah, k);
        bl = cut_columns(bl, k);
        bh = cut_columns(bh, k);
      }
      let low = transpose(al);
      let high = transpose(ah);
      ll += bl * low;
      lh += bh * low;
      hl += bl * high;
      hh += bh * high;
    }
    low_low += ll;
    low_high += lh;
    high_low += hl;
    high_high += hh;
  }
  // Stored in a loop that is not unrolled: software devices compile stores slowly.
  var lows = array<mat4x4<f32>, 2>(low_low, high_low);
  var highs = array<mat4x4<f32>, 2>(low_high, high_high);
  for (var i = 0u; i < 8u; i++) {
    let low = lows[i >> 2u][i & 3u];
    let high = highs[i >> 2u][i & 3u];
    for (var j = 0u; j < 8u; j++) {
      store(row + i, column + j, id.z, select(low[j & 3u], high[j & 3u], j >= 4u));
    }
  }
}
