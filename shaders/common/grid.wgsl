// A one-dimensional grid larger than 65,535 workgroups is spread over x and y (grid1d in src/gpu/kernel.ts).
fn workgroup_index(workgroup_id: vec3<u32>, num_workgroups: vec3<u32>) -> u32 {
  return workgroup_id.y * num_workgroups.x + workgroup_id.x;
}

// The same of a grid that is `across` wide, row by row (gridOf in src/gpu/kernel.ts): in x, and in y, which may lie past the last row.
fn workgroup_at(workgroup_id: vec3<u32>, num_workgroups: vec3<u32>, across: u32) -> vec2<u32> {
  let index = workgroup_index(workgroup_id, num_workgroups);
  return vec2<u32>(index % across, index / across);
}
