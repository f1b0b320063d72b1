// Operands whose widths, starts and columns that take part are multiples of 4.
@group(0) @binding(0) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> b: array<vec4<f32>>;

// Four elements of a row; in place of those past the last column, the four before: what they make is not stored.
fn a4(row: u32, column: u32) -> vec4<f32> {
  return a[(row * params.a_width + params.a_start + min(column, params.rows - 4u)) >> 2u];
}

fn b4(row: u32, column: u32) -> vec4<f32> {
  return b[(row * params.b_width + params.b_start + min(column, params.columns - 4u)) >> 2u];
}

// #include "transposed_product_body.wgsl"
