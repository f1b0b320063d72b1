// The identity [n, n].
// #include "../common/each.wgsl"
struct Params { n: u32 }

@group(0) @binding(0) var<storage, read_write> out: array<f32>;
@group(0) @binding(1) var<uniform> params: Params;

fn each(at: u32) {
  if (at < params.n * params.n) { out[at] = select(0.0, 1.0, at % (params.n + 1u) == 0u); }
}
