// The plainest use of memory: the yardstick for every kernel that is bound by bandwidth. Each thread copies PER_THREAD
// vectors, a workgroup's width apart, so that neighbours read neighbours.
// #include "../common/grid.wgsl"
@group(0) @binding(0) var<storage, read> source: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> destination: array<vec4<u32>>;

override WIDTH = 256u;
override PER_THREAD = 8u;

@compute @workgroup_size(WIDTH)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(num_workgroups) num_workgroups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let first = workgroup_index(workgroup_id, num_workgroups) * WIDTH * PER_THREAD + lane;
  let count = min(arrayLength(&source), arrayLength(&destination));
  for (var i = 0u; i < PER_THREAD; i++) {
    let at = first + i * WIDTH;
    if (at < count) {
      destination[at] = source[at];
    }
  }
}
