// Formats w8a8 and w8a8-static: w = scale · code, code int8; one f32 scale a row. Byte i of a row belongs to weight i; each row starts on a word.
// The kernel declares fn columns() -> u32, the weights in a row; fn row_length() -> u32, those in what it takes for one: a row, or the
// whole matrix; and fn place(row: u32, k: u32) -> vec2<u32>, the true row and column of weight k of such.
@group(1) @binding(0) var<storage, read> weight_codes: array<u32>;
@group(1) @binding(1) var<storage, read> weight_scales: array<f32>;

fn word_at(row: u32, column: u32) -> u32 {
  return weight_codes[row * ((columns() + 3u) >> 2u) + (column >> 2u)];
}

// Weights of a row that the codes of a word stand for.
fn weights_of(row: u32, word: u32) -> vec4<f32> {
  let codes = (vec4<i32>(bitcast<i32>(word)) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u);
  return weight_scales[row] * vec4<f32>(codes);
}

// Weights k .. k + 3 of a row; those past its end are 0.
fn load4(row: u32, k: u32) -> vec4<f32> {
  // Known when this is compiled: then the rest is dropped.
  if (row_length() == columns()) {
    let inside = vec4<u32>(k) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(columns());
    return select(vec4<f32>(0.0), weights_of(row, word_at(row, k)), inside);
  }
  var values = vec4<f32>(0.0);
  for (var i = 0u; i < min(4u, row_length() - k); i++) {
    let own = place(row, k + i);
    values[i] = weights_of(own.x, word_at(own.x, own.y) >> ((own.y & 3u) << 3u)).x;
  }
  return values;
}

// The same where row_length() and columns() are multiples of 4.
fn load4_aligned(row: u32, k: u32) -> vec4<f32> {
  let at = place(row, k);
  return weights_of(at.x, word_at(at.x, at.y));
}

// Scale and offset of weight `at`, counted over whole rows.
fn grid_of(at: u32) -> vec2<f32> {
  return vec2<f32>(weight_scales[at / columns()], 0.0);
}

// #include "shared/dense_chunk.wgsl"
