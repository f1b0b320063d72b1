// Scale and offset of each group of weights that share both, of any format with a grid.
// #include "../common/grid.wgsl"
@group(0) @binding(0) var<storage, read_write> grid: array<vec2<f32>>;
@group(0) @binding(1) var<uniform> params: Params;

struct Params { groups: u32 }

override WORKGROUP: u32 = 64;
// Weights of a group.
override SHARING: u32 = 32;

fn row_length() -> u32 { return params.groups * SHARING; }

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(num_workgroups) num_workgroups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = workgroup_index(workgroup_id, num_workgroups) * WORKGROUP + thread;
  if (index < params.groups) { grid[index] = grid_of(SHARING * index); }
}
