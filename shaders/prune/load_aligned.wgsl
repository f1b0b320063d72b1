// Four weights of rows whose length is a multiple of 4, from such a column on.
fn load(row: u32, column: u32) -> vec4<f32> {
  return load4_aligned(row, column);
}
