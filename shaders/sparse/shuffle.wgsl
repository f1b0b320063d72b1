// Groups that divide eight columns, of which a power of two are kept: rows on the lanes of a subgroup, ROWS a thread. The lanes hold eight columns of x
// together, and each takes from them what its weight is multiplied with. Wins where a gather costs more than an exchange between lanes, as on CPUs.
// #include "../common/grid.wgsl"
// #include "shared.wgsl"
override ROWS: u32 = 1; // of a thread: 1 or 2. More would drive each other's lines out of a small cache, into whose sets rows of equal length fall alike
override TOKENS: u32 = 1; // a workgroup's: 1, 2 or 4
override SPAN = 8u / OF * KEEP; // slots of eight columns
const THREADS = 64u;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(local_invocation_index) thread: u32,
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(num_workgroups) num_workgroups: vec3<u32>,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let group = workgroup_index(workgroup_id, num_workgroups);
  let groups_a_token = (params.rows + ROWS * THREADS - 1u) / (ROWS * THREADS);
  let token = group / groups_a_token * TOKENS;
  let row = (group % groups_a_token * THREADS + thread) * ROWS;
  let last_row = params.rows - 1u;
  let last_column = params.k - 1u;
  // #repeat r 2
  let row$r = min(row + $ru, last_row);
  // #end
  // #repeat t 4
  let from$t = min(token + $tu, params.tokens - 1u) * params.k;
  var sums$t = vec2<f32>(0.0);
  var held$t = 0.0;
  // #end
  for (var slot = 0u; slot < params.slots; slot += CHUNK_SLOTS) {
    let chunk0 = load_chunk(row0, slot);
    let word0 = places(row0, slot);
    // #repeat r 2
    var chunk$r_ = chunk0;
    var word$r_ = word0;
    if ($ru > 0u && ROWS > $ru) {
      chunk$r_ = load_chunk(row$r, slot);
      word$r_ = places(row$r, slot);
    }
    let scale$r = chunk_scale(chunk$r_);
    // #end
    let first = slot / KEEP * OF + (lane & 7u);
    // #repeat i 4
    {
      // #repeat r 2
      let w$r = scale$r * chunk4(chunk$r_, $iu);
      // #end
      // #repeat j 4
      {
        if ((4u * $iu + $ju) % SPAN == 0u) {
          let column = min(first + (4u * $iu + $ju) / SPAN * 8u, last_column);
          // #repeat t 4
          if (TOKENS > $tu) { held$t = x[from$t + column]; }
          // #end
        }
        let before = (4u * $iu + $ju) % SPAN / KEEP * OF;
        // #repeat r 2
        if (ROWS > $ru) {
          let at = place_of(word$r_, 4u * $iu + $ju) + before;
          // #repeat t 4
          if (TOKENS > $tu) { sums$t[$r] += w$r[$j] * subgroupShuffle(held$t, at); }
          // #end
        }
        // #end
      }
      // #end
    }
    // #end
  }
  // #repeat t 4
  if (TOKENS > $tu) {
    for (var r = 0u; r < ROWS; r++) { store(token + $tu, row + r, sums$t[r]); }
  }
  // #end
}
