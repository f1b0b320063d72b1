// Rows on the lanes of a subgroup, tokens broadcast: each thread owns 4 rows x TOKENS tokens. x, which is the same for all lanes, is loaded once a
// subgroup: lane l holds columns 4 (l % 4) .. + 3 of sixteen, of the even or the odd token of a pair. Wins where a load costs more than an exchange
// between lanes, as on CPUs, whose loads go lane by lane: many tokens win there even though their sums do not fit registers. Any subgroup of 8 lanes or more.
// #include "../common/grid.wgsl"
override TOKENS: u32 = 8; // a workgroup's: a power of two up to 32
const THREADS = 64u;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(local_invocation_index) thread: u32,
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(num_workgroups) num_workgroups: vec3<u32>,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let group = workgroup_index(workgroup_id, num_workgroups);
  let groups_a_token = (params.rows + 4u * THREADS - 1u) / (4u * THREADS);
  let first_token = group / groups_a_token * TOKENS;
  let row = (group % groups_a_token * THREADS + thread) * 4u;
  let last_row = params.rows - 1u;
  // #repeat r 4
  let row$r = min(row + $ru, last_row);
  // #end
  let column = 4u * (lane & 3u);
  // #repeat p 16
  let token$p = min(first_token + 2u * $pu + ((lane >> 2u) & 1u), params.tokens - 1u);
  var even$p = vec4<f32>(0.0);
  var odd$p = vec4<f32>(0.0);
  // #end
  for (var k = 0u; k + PIECE <= params.k; k += PIECE) {
    // #repeat r 4
    let piece$r = piece(row$r, k);
    let scale$r = piece_scale(piece$r);
    // #end
    // #repeat p 16
    var held$p = vec4<f32>(0.0);
    if (TOKENS > 2u * $pu) { held$p = x4(token$p, k + column); }
    // #end
    // #repeat c 4
    {
      let w = mat4x4<f32>(
        scale0 * piece4(piece0, $cu),
        scale1 * piece4(piece1, $cu),
        scale2 * piece4(piece2, $cu),
        scale3 * piece4(piece3, $cu),
      );
      // #repeat p 16
      if (TOKENS > 2u * $pu) { even$p += subgroupBroadcast(held$p, $cu) * w; }
      if (TOKENS > 2u * $pu + 1u) { odd$p += subgroupBroadcast(held$p, $cu + 4u) * w; }
      // #end
    }
    // #end
  }
  // The columns behind the last sixteen.
  for (var k = params.k / PIECE * PIECE; k < params.k; k += 4u) {
    let w = mat4x4<f32>(w4(row0, k), w4(row1, k), w4(row2, k), w4(row3, k));
    // #repeat p 16
    if (TOKENS > 2u * $pu) { even$p += x4(min(first_token + 2u * $pu, params.tokens - 1u), k) * w; }
    if (TOKENS > 2u * $pu + 1u) { odd$p += x4(min(first_token + 2u * $pu + 1u, params.tokens - 1u), k) * w; }
    // #end
  }
  // #repeat p 16
  if (TOKENS > 2u * $pu) { store4(first_token + 2u * $pu, row, even$p); }
  if (TOKENS > 2u * $pu + 1u) { store4(first_token + 2u * $pu + 1u, row, odd$p); }
  // #end
}
