// a = b + s c, the triad of STREAM (McCalpin, 1995): two reads for each write, where a copy has one.
// #include "../../../shaders/common/grid.wgsl"
@group(0) @binding(0) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> c: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> a: array<vec4<f32>>;

override WIDTH = 256u;
override PER_THREAD = 8u;

@compute @workgroup_size(WIDTH)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(num_workgroups) num_workgroups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let first = workgroup_index(workgroup_id, num_workgroups) * WIDTH * PER_THREAD + lane;
  let count = min(arrayLength(&a), min(arrayLength(&b), arrayLength(&c)));
  for (var i = 0u; i < PER_THREAD; i++) {
    let at = first + i * WIDTH;
    if (at < count) {
      a[at] = b[at] + 3.0 * c[at];
    }
  }
}
