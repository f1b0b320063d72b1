// Sums of threads that share rows, added by a tree. LANES = 1 gives rows to single threads, which wins on CPUs; 32 and more coalesce loads on GPUs.
// #include "../common/grid.wgsl"
// #include "vector_body.wgsl"
override LANES: u32 = 32;
const THREADS = 64u;

var<workgroup> parts: array<Pair, THREADS>;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(local_invocation_index) thread: u32,
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(num_workgroups) num_workgroups: vec3<u32>,
) {
  let group = workgroup_index(workgroup_id, num_workgroups);
  let lane = thread % LANES;
  let row = (group * (THREADS / LANES) + thread / LANES) * 2u;
  var sums = sums_of_pair(lane, row);
  if (LANES > 1u) {
    parts[thread] = sums;
    workgroupBarrier();
    for (var width = LANES / 2u; width > 0u; width /= 2u) {
      if (lane < width) { parts[thread] = plus(parts[thread], parts[thread + width]); }
      workgroupBarrier();
    }
    sums = parts[thread];
  }
  if (lane == 0u) { store_pair(row, sums); }
}
