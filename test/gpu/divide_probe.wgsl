// Divides element by element, for the test of shaders/common/divide.wgsl.
// #include "../../shaders/common/divide.wgsl"
@group(0) @binding(0) var<storage, read_write> a: array<f32>;
@group(0) @binding(1) var<storage, read_write> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> quotients: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (a[id.x] == 1.0) {
    quotients[id.x] = reciprocal(b[id.x]);
  } else {
    quotients[id.x] = divide(a[id.x], b[id.x]);
  }
}
