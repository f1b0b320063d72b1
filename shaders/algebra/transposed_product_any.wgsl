// Operands of any width.
@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;

// Four elements of a row; in place of those past the last column, that one: what they make is not stored.
fn a4(row: u32, column: u32) -> vec4<f32> {
  let at = vec4<u32>(row * params.a_width + params.a_start) + min(vec4<u32>(column) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(params.rows - 1u));
  return vec4<f32>(a[at.x], a[at.y], a[at.z], a[at.w]);
}

fn b4(row: u32, column: u32) -> vec4<f32> {
  let at = vec4<u32>(row * params.b_width + params.b_start) + min(vec4<u32>(column) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(params.columns - 1u));
  return vec4<f32>(b[at.x], b[at.y], b[at.z], b[at.w]);
}

// #include "transposed_product_body.wgsl"
