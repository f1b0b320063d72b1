// Blocks of four rows or a multiple, and many right-hand sides: a thread owns a register tile of 4 rows x 4 tokens. The 64 threads of a workgroup have tokens of
// the same rows next to each other, which take the same blocks.
// #include "../common/grid.wgsl"
// #include "shared.wgsl"
const THREADS = 64u;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(local_invocation_index) thread: u32,
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(num_workgroups) num_workgroups: vec3<u32>,
) {
  let across = (params.tokens + 3u) / 4u;
  let item = workgroup_index(workgroup_id, num_workgroups) * THREADS + thread;
  let row = item / across * 4u;
  if (row >= params.block_rows * BLOCK_ROWS) { return; }
  let token = item % across * 4u;
  let last = params.tokens - 1u;
  let block_row = block_row_of(row / BLOCK_ROWS);
  let within = row % BLOCK_ROWS;
  let end = first_block(block_row + 1u);
  // #repeat t 4
  var sums$t = vec4<f32>(0.0);
  // #end
  for (var block = first_block(block_row); block < end; block++) {
    let column = first_column(block);
    for (var c = 0u; c < BLOCK_COLUMNS; c += 4u) {
      let at = within * WIDTH + c;
      let w = mat4x4<f32>(
        load4_aligned(block, at),
        load4_aligned(block, at + WIDTH),
        load4_aligned(block, at + 2u * WIDTH),
        load4_aligned(block, at + 3u * WIDTH),
      );
      // #repeat t 4
      sums$t += x4(min(token + $tu, last), column + c) * w;
      // #end
    }
  }
  // #repeat t 4
  for (var r = 0u; r < 4u; r++) { store(token + $tu, block_row * BLOCK_ROWS + within + r, sums$t[r]); }
  // #end
}
