// A thread for each of many things: the kernel gives fn each(thread: u32), which does nothing beyond their number.
// #include "grid.wgsl"
override WORKGROUP: u32 = 64;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(num_workgroups) num_workgroups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  each(workgroup_index(workgroup_id, num_workgroups) * WORKGROUP + thread);
}
