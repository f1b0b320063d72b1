// A one-dimensional grid larger than 65,535 workgroups is spread over x and y (grid1d in src/gpu/kernel.ts).
fn workgroup_index(workgroup_id: vec3<u32>, num_workgroups: vec3<u32>) -> u32 {
  return workgroup_id.y * num_workgroups.x + workgroup_id.x;
}
