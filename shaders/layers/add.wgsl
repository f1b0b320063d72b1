// out = a + b, an element a thread.
// #include "../common/each.wgsl"
@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

struct Params { count: u32 }

fn each(i: u32) {
  if (i >= params.count) { return; }
  out[i] = a[i] + b[i];
}
