// A thread owns WEIGHTS weights; the layout defines fn pack_word(index: u32), which writes their codes.
// #include "../common/grid.wgsl"

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(num_workgroups) num_workgroups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = workgroup_index(workgroup_id, num_workgroups) * WORKGROUP + thread;
  if (WEIGHTS * index < params.count) { pack_word(index); }
}
