// Patterns that four rows or more share, and many right-hand sides: tokens on the lanes of a subgroup, the weights of a band broadcast; a thread owns up to
// sixteen rows x TOKENS tokens. Lane l holds four slots of row l % 8, and of row l % 8 + 8 where a band has sixteen. Any subgroup of 8 lanes or more.
// #include "../common/grid.wgsl"
// #include "shared.wgsl"
override THREADS: u32 = 64;
override TOKENS: u32 = 1; // of a thread: 1 or 2

@compute @workgroup_size(THREADS)
fn main(
  @builtin(local_invocation_index) thread: u32,
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(num_workgroups) num_workgroups: vec3<u32>,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let group = workgroup_index(workgroup_id, num_workgroups);
  let bands = (params.rows + BAND - 1u) / BAND;
  let first_row = group % bands * BAND;
  let first_token = group / bands * (THREADS * TOKENS) + thread;
  let last_row = params.rows - 1u;
  let low_row = min(first_row + (lane & 7u), last_row);
  let high_row = min(first_row + 8u + (lane & 7u), last_row);
  // #repeat t 2
  let token$t = first_token + $tu * THREADS;
  let from$t = min(token$t, params.tokens - 1u) * params.k;
  // #end
  // #repeat t 2
  // #repeat r 8
  var low$r_$t = 0.0;
  var high$r_$t = 0.0;
  // #end
  // #end
  for (var slot = 0u; slot < params.slots; slot += 4u) {
    let word = places(first_row, slot & ~15u);
    let low = load4_aligned(low_row, slot);
    var high = low;
    if (BAND == 16u) { high = load4_aligned(high_row, slot); }
    // #repeat j 4
    {
      let column = column_of(slot + $ju, place_of(word, (slot & 15u) + $ju));
      // #repeat t 2
      var v$t = 0.0;
      if (TOKENS > $tu) { v$t = x[from$t + column]; }
      // #end
      // #repeat r 8
      if (BAND > $ru) {
        let w = subgroupBroadcast(low[$j], $ru);
        // #repeat t 2
        if (TOKENS > $tu) { low$r_$t += w * v$t; }
        // #end
      }
      // #end
      // #repeat r 8
      if (BAND == 16u) {
        let w = subgroupBroadcast(high[$j], $ru);
        // #repeat t 2
        if (TOKENS > $tu) { high$r_$t += w * v$t; }
        // #end
      }
      // #end
    }
    // #end
  }
  // #repeat t 2
  if (TOKENS > $tu) {
    // #repeat r 8
    if (BAND > $ru) { store(token$t, first_row + $ru, low$r_$t); }
    if (BAND == 16u) { store(token$t, first_row + 8u + $ru, high$r_$t); }
    // #end
  }
  // #end
}
