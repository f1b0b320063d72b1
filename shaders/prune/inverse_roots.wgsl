// factors[order[i]] = 1 / √z[i, i]: what weights are multiplied by to rank them as optimal brain surgeon does.
// #include "../common/each.wgsl"
struct Params { n: u32 }

@group(0) @binding(0) var<storage, read> z: array<f32>;             // [n, n]: an inverse
@group(0) @binding(1) var<storage, read> order: array<u32>;         // [n]
@group(0) @binding(2) var<storage, read_write> factors: array<f32>; // [n]
@group(0) @binding(3) var<uniform> params: Params;

fn each(i: u32) {
  if (i >= params.n) { return; }
  factors[order[i]] = inverseSqrt(max(z[i * params.n + i], 0x1p-126));
}
