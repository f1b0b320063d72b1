// h[i, j] = h[i, j] − mean[i] · mean[j].
// #include "../common/each.wgsl"
struct Params { n: u32 }

@group(0) @binding(0) var<storage, read> mean: array<f32>; // [n]
@group(0) @binding(1) var<storage, read_write> h: array<f32>; // [n, n]
@group(0) @binding(2) var<uniform> params: Params;

fn each(at: u32) {
  let n = params.n;
  if (at < n * n) { h[at] -= mean[at / n] * mean[at % n]; }
}
