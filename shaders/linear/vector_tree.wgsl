// Sums of threads that share rows, added by a tree. LANES = 1 gives rows to single threads, which wins on CPUs; 32 and more coalesce loads on GPUs.
// #include "../common/grid.wgsl"
// #include "pair_tree.wgsl"

@compute @workgroup_size(THREADS)
fn main(
  @builtin(local_invocation_index) thread: u32,
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(num_workgroups) num_workgroups: vec3<u32>,
) {
  let group = workgroup_index(workgroup_id, num_workgroups);
  let lane = thread % LANES;
  let row = (group * (THREADS / LANES) + thread / LANES) * 2u;
  let sums = added_up(thread, lane, sums_of_pair(lane, row));
  if (lane == 0u) { store_pair(row, sums); }
}
