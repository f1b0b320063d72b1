// Of each column the sum of (|w| · factor)² over BAND rows that share a pattern, in f32; the last band may have fewer. Squares below 2^-126 count as zero, whatever
// the device makes of them. A thread has four columns. The kernel gives fn load(row, column).
// #include "../common/each.wgsl"
// #include "keys.wgsl"
struct Params { rows: u32, k: u32, band: u32 }

@group(0) @binding(2) var<storage, read_write> sums: array<f32>; // [bands, k]
@group(0) @binding(3) var<uniform> params: Params;

// Infinity would count as a weight that is not finite.
const LARGEST = vec4<f32>(0x1.fffffep127);

fn each(thread: u32) {
  let fours = (params.k + 3u) >> 2u;
  let first = thread / fours * params.band;
  if (first >= params.rows) { return; }
  let column = 4u * (thread % fours);
  var sum = vec4<f32>(0.0);
  for (var row = first; row < min(first + params.band, params.rows); row++) {
    let value = bitcast<vec4<f32>>(keys4(row, column));
    let square = value * value;
    sum += select(square, vec4<f32>(0.0), square < vec4<f32>(0x1p-126));
  }
  sum = min(sum, LARGEST);
  let at = thread / fours * params.k + column;
  for (var i = 0u; i < 4u; i++) {
    if (column + i < params.k) { sums[at + i] = sum[i]; }
  }
}
