// #include "../common/each.wgsl"
// #include "keys.wgsl"
struct Params { rows: u32, k: u32, threshold: u32 }

@group(0) @binding(2) var<storage, read_write> sums: array<f32>;   // [rows]
@group(0) @binding(3) var<storage, read_write> counts: array<u32>; // [rows]
@group(0) @binding(4) var<uniform> params: Params;

fn each(row: u32) {
  if (row >= params.rows) { return; }
  var sum = vec4<f32>(0.0);
  var count = vec4<u32>(0u);
  for (var column = 0u; column < params.k; column += 4u) {
    let inside = vec4<u32>(column, column + 1u, column + 2u, column + 3u) < vec4<u32>(params.k);
    let keys = select(vec4<u32>(0u), keys4(row, column), inside);
    sum += bitcast<vec4<f32>>(keys);
    count += select(vec4<u32>(0u), vec4<u32>(1u), keys > vec4<u32>(params.threshold));
  }
  sums[row] = sum.x + sum.y + sum.z + sum.w;
  counts[row] = count.x + count.y + count.z + count.w;
}
