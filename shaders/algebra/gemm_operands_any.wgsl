// Operands of a product whose rows may begin anywhere.
@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;

// Four elements, which past the end of the buffer repeat its last.
fn load_a(at: u32) -> vec4<f32> {
  let places = min(vec4<u32>(at) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(arrayLength(&a) - 1u));
  return vec4<f32>(a[places.x], a[places.y], a[places.z], a[places.w]);
}

fn load_b(at: u32) -> vec4<f32> {
  let places = min(vec4<u32>(at) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(arrayLength(&b) - 1u));
  return vec4<f32>(b[places.x], b[places.y], b[places.z], b[places.w]);
}

fn last_four(count: u32) -> u32 {
  return (count - 1u) & 0xfffffffcu;
}

// #include "gemm_blocks.wgsl"
