// Operands where k is a multiple of 4: whole vec4 loads.
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;

fn x4(token: u32, k: u32) -> vec4<f32> {
  return x[(token * params.k + k) >> 2u];
}

fn w4(row: u32, k: u32) -> vec4<f32> {
  return load4_aligned(row, k);
}
