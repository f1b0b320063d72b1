// Scale and offset of each group of weights that share both, of any format with a grid.
// #include "../common/each.wgsl"
@group(0) @binding(0) var<storage, read_write> grid: array<vec2<f32>>;
@group(0) @binding(1) var<uniform> params: Params;

struct Params { groups: u32 }

// Weights of a group.
override SHARING: u32 = 32;

fn row_length() -> u32 { return params.groups * SHARING; }

fn each(index: u32) {
  if (index < params.groups) { grid[index] = grid_of(SHARING * index); }
}
