// Weights k .. k + 3 of four rows, a column each; rows past the last repeat it.
fn four_rows(row: u32, k: u32) -> mat4x4<f32> {
  let last = params.rows - 1u;
  return mat4x4<f32>(
    w4(min(row, last), k),
    w4(min(row + 1u, last), k),
    w4(min(row + 2u, last), k),
    w4(min(row + 3u, last), k),
  );
}

fn store4(token: u32, row: u32, values: vec4<f32>) {
  store2(token, row, values.xy);
  store2(token, row + 2u, values.zw);
}
