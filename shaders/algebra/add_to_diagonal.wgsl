// out = m, and on the diagonal m + shift.
// #include "../common/each.wgsl"
struct Params { n: u32, shift: f32 }

@group(0) @binding(0) var<storage, read> m: array<f32>; // [n, n]
@group(0) @binding(1) var<storage, read_write> out: array<f32>; // [n, n]
@group(0) @binding(2) var<uniform> params: Params;

fn each(at: u32) {
  if (at < params.n * params.n) { out[at] = m[at] + select(0.0, params.shift, at % (params.n + 1u) == 0u); }
}
