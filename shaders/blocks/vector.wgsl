// Blocks of any size, up to four right-hand sides at a time: LANES threads share a row, and each takes every LANES-th four columns of its blocks.
// #include "../common/grid.wgsl"
// #include "../sparse/row_tree.wgsl"
// #include "shared.wgsl"
override ONE_TOKEN: bool = false;
override PIECES = WIDTH / 4u; // of a row of a block

// For up to four tokens, what one of the threads that share a row has summed up.
fn sums_of(lane: u32, block_row: u32, within: u32, token: u32) -> vec4<f32> {
  let last = params.tokens - 1u;
  let first = first_block(block_row);
  let count = (first_block(block_row + 1u) - first) * PIECES;
  var s0 = vec4<f32>(0.0);
  var s1 = vec4<f32>(0.0);
  var s2 = vec4<f32>(0.0);
  var s3 = vec4<f32>(0.0);
  for (var piece = lane; piece < count; piece += LANES) {
    let block = first + piece / PIECES;
    let at = piece % PIECES * 4u;
    let w = load4_aligned(block, within * WIDTH + at);
    let column = first_column(block) + at;
    s0 += w * x4(token, column);
    if (!ONE_TOKEN) {
      s1 += w * x4(min(token + 1u, last), column);
      s2 += w * x4(min(token + 2u, last), column);
      s3 += w * x4(min(token + 3u, last), column);
    }
  }
  let one = vec4<f32>(1.0);
  return vec4<f32>(dot(one, s0), dot(one, s1), dot(one, s2), dot(one, s3));
}

@compute @workgroup_size(THREADS)
fn main(
  @builtin(local_invocation_index) thread: u32,
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(num_workgroups) num_workgroups: vec3<u32>,
) {
  let group = workgroup_index(workgroup_id, num_workgroups);
  let rows = params.block_rows * BLOCK_ROWS;
  let rows_a_group = THREADS / LANES;
  let groups_a_token = (rows + rows_a_group - 1u) / rows_a_group;
  let token = group / groups_a_token * 4u;
  let lane = thread % LANES;
  let taken = group % groups_a_token * rows_a_group + thread / LANES;
  let block_row = block_row_of(min(taken / BLOCK_ROWS, params.block_rows - 1u));
  let within = taken % BLOCK_ROWS;
  let sums = added_up(thread, lane, sums_of(lane, block_row, within, min(token, params.tokens - 1u)));
  if (lane == 0u && taken < rows) {
    for (var i = 0u; i < 4u; i++) { store(token + i, block_row * BLOCK_ROWS + within, sums[i]); }
  }
}
