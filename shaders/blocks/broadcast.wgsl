// Blocks of 32 rows, or a multiple, and sixteen columns, and many right-hand sides: rows on the eight lanes of a workgroup, four a thread, tokens broadcast. x, which
// is the same for all lanes, is loaded once: lane l holds columns 4 (l % 4) .. + 3 of sixteen, of the even or the odd token of a pair. Wins where a load costs
// more than an exchange between lanes, as on CPUs. Any subgroup of 8 lanes or more.
// #include "../common/grid.wgsl"
// #include "shared.wgsl"
override TOKENS: u32 = 32; // a workgroup's: a power of two up to 32
override SLABS = BLOCK_ROWS / 32u; // of a row of blocks

@compute @workgroup_size(8)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(num_workgroups) num_workgroups: vec3<u32>,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let group = workgroup_index(workgroup_id, num_workgroups);
  let tiles = (params.tokens + TOKENS - 1u) / TOKENS;
  let slab = group / tiles;
  if (slab >= params.block_rows * SLABS) { return; }
  let first_token = group % tiles * TOKENS;
  let block_row = block_row_of(slab / SLABS);
  let within = slab % SLABS * 32u + lane * 4u;
  let end = first_block(block_row + 1u);
  let column = 4u * (lane & 3u);
  // #repeat p 16
  let token$p = min(first_token + 2u * $pu + ((lane >> 2u) & 1u), params.tokens - 1u);
  var even$p = vec4<f32>(0.0);
  var odd$p = vec4<f32>(0.0);
  // #end
  for (var block = first_block(block_row); block < end; block++) {
    let first = first_column(block);
    for (var c = 0u; c < BLOCK_COLUMNS; c += 16u) {
      // #repeat r 4
      let chunk$r = load_chunk(block, (within + $ru) * WIDTH + c);
      let scale$r = chunk_scale(chunk$r);
      // #end
      // #repeat p 16
      var held$p = vec4<f32>(0.0);
      if (TOKENS > 2u * $pu) { held$p = x4(token$p, first + c + column); }
      // #end
      // #repeat c 4
      {
        let w = mat4x4<f32>(
          scale0 * chunk4(chunk0, $cu),
          scale1 * chunk4(chunk1, $cu),
          scale2 * chunk4(chunk2, $cu),
          scale3 * chunk4(chunk3, $cu),
        );
        // #repeat p 16
        if (TOKENS > 2u * $pu) { even$p += subgroupBroadcast(held$p, $cu) * w; }
        if (TOKENS > 2u * $pu + 1u) { odd$p += subgroupBroadcast(held$p, $cu + 4u) * w; }
        // #end
      }
      // #end
    }
  }
  let row = block_row * BLOCK_ROWS + within;
  // #repeat p 16
  for (var r = 0u; r < 4u; r++) {
    if (TOKENS > 2u * $pu) { store(first_token + 2u * $pu, row + r, even$p[r]); }
    if (TOKENS > 2u * $pu + 1u) { store(first_token + 2u * $pu + 1u, row + r, odd$p[r]); }
  }
  // #end
}
