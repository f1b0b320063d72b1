// Weights of a dense format to int8 rows.
// #include "../common/grid.wgsl"
// #include "source.wgsl"
// #include "int8_rows.wgsl"
@group(0) @binding(0) var<storage, read_write> codes: array<u32>;
@group(0) @binding(1) var<storage, read_write> scales: array<u32>;

fn value4(row: u32, k: u32) -> vec4<f32> {
  var values = load4(0u, row * columns() + k);
  for (var i = 1u; i < 4u; i++) {
    if (k + i >= columns()) { values[i] = 0.0; }
  }
  return values;
}

// Where the row holds what is not finite, the first such weight is reported.
fn report_row(first: u32) {
  for (var i = 0u; i < columns(); i++) {
    let bits = bitcast<u32>(load4(0u, first + i).x) & 0x7fffffffu;
    if (bits >= INFINITY) {
      atomicMax(&bad, ~(first + i));
      return;
    }
  }
}

fn quantize_row(row: u32, thread: u32) {
  let most = largest_of(row, thread);
  let scale = measured_scale(most);
  for (var word = thread; word < words_of_row(); word += WORKGROUP) {
    codes[row * words_of_row() + word] = word_of(row, word, scale);
  }
  if (thread == 0u) {
    scales[row] = scale;
    if (most >= INFINITY) { report_row(row * columns()); }
  }
}
