// out = a − b.
// #include "../common/each.wgsl"
struct Params { count: u32 }

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

fn each(at: u32) {
  if (at < params.count) { out[at] = a[at] - b[at]; }
}
