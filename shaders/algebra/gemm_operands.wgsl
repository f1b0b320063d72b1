// Operands of a product whose rows begin at multiples of 4 elements. What is read beyond the last row or column of C lies in the same rows, and is not stored.
@group(0) @binding(0) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> b: array<vec4<f32>>;

fn load_a(at: u32) -> vec4<f32> {
  return a[at >> 2u];
}

fn load_b(at: u32) -> vec4<f32> {
  return b[at >> 2u];
}

// The first of the last four elements that take part, in a row of them.
fn last_four(count: u32) -> u32 {
  return (count - 1u) & 0xfffffffcu;
}

// #include "gemm_blocks.wgsl"
