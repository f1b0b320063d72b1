// Sums of `width` columns next to each other; the last of a row may be of fewer. A thread makes a sum.
// #include "../common/each.wgsl"
struct Params { rows: u32, k: u32, width: u32 }

@group(0) @binding(0) var<storage, read> columns: array<f32>;    // [rows, k]
@group(0) @binding(1) var<storage, read_write> sums: array<f32>; // [rows, k / width]
@group(0) @binding(2) var<uniform> params: Params;

fn each(thread: u32) {
  let blocks = (params.k + params.width - 1u) / params.width;
  let row = thread / blocks;
  if (row >= params.rows) { return; }
  let first = thread % blocks * params.width;
  var sum = 0.0;
  for (var column = first; column < min(first + params.width, params.k); column++) { sum += columns[row * params.k + column]; }
  sums[thread] = min(sum, 0x1.fffffep127);
}
