// Zeros below the diagonal of m.
// #include "../common/each.wgsl"
struct Params { n: u32 }

@group(0) @binding(0) var<storage, read_write> m: array<f32>; // [n, n]
@group(0) @binding(1) var<uniform> params: Params;

fn each(at: u32) {
  if (at < params.n * params.n && at / params.n > at % params.n) { m[at] = 0.0; }
}
