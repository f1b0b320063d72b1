// m[i, i] = m[i, i] · factor.
// #include "../common/each.wgsl"
struct Params { n: u32, factor: f32 }

@group(0) @binding(0) var<storage, read_write> m: array<f32>; // [n, n]
@group(0) @binding(1) var<uniform> params: Params;

fn each(i: u32) {
  if (i < params.n) { m[i * (params.n + 1u)] *= params.factor; }
}
