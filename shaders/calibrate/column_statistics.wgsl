// Of each column of x: Σ|x|, Σx² and Σx, times `factor`, added to what is there, and the largest |x| so far. A thread for each column; sums run over
// 32 tokens at a time.
// #include "../common/each.wgsl"
struct Params { tokens: u32, width: u32, factor: f32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;             // [tokens, width]
@group(0) @binding(1) var<storage, read_write> statistics: array<f32>; // [4, width]: |x|, x², the largest |x|, x
@group(0) @binding(2) var<uniform> params: Params;

const STRETCH = 32u;

fn each(column: u32) {
  let width = params.width;
  if (column >= width) { return; }
  var sums = vec3<f32>(0.0);
  var largest = statistics[2u * width + column];
  for (var start = 0u; start < params.tokens; start += STRETCH) {
    var part = vec3<f32>(0.0);
    for (var t = start; t < min(start + STRETCH, params.tokens); t++) {
      let value = x[t * width + column];
      let size = abs(value);
      part += vec3<f32>(size, size * size, value);
      largest = max(largest, size);
    }
    sums += part;
  }
  statistics[column] += params.factor * sums.x;
  statistics[width + column] += params.factor * sums.y;
  statistics[2u * width + column] = largest;
  statistics[3u * width + column] += params.factor * sums.z;
}
