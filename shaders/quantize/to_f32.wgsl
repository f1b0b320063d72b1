// Any format to f32: exact.
fn store4(at: u32, bits: vec4<u32>) {
  for (var i = 0u; i < 4u; i++) {
    if (at + i < params.count) { data[at + i] = bits[i]; }
  }
}

// #include "to_dense.wgsl"
