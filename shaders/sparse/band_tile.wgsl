// Patterns that four rows or more share, and many right-hand sides: a thread owns a register tile of 4 rows x 4 tokens, and gathers each token's columns once for
// its rows. A workgroup of 8 x 8 threads covers 32 rows x 32 tokens.
// #include "shared.wgsl"
fn gathered(token: u32, at: vec4<u32>) -> vec4<f32> {
  let first = min(token, params.tokens - 1u) * params.k;
  return vec4<f32>(x[first + at.x], x[first + at.y], x[first + at.z], x[first + at.w]);
}

// #include "../common/grid.wgsl"
@compute @workgroup_size(8, 8)
fn main(
  @builtin(local_invocation_id) thread: vec3<u32>,
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(num_workgroups) num_workgroups: vec3<u32>,
) {
  let id = 8u * workgroup_at(workgroup_id, num_workgroups, (params.rows + 31u) / 32u) + thread.xy;
  let row = id.x * 4u;
  let token = id.y * 4u;
  if (row >= params.rows || token >= params.tokens) { return; }
  let last_row = params.rows - 1u;
  // #repeat t 4
  var sums$t = vec4<f32>(0.0);
  // #end
  for (var slot = 0u; slot < params.slots; slot += CHUNK_SLOTS) {
    let word = places(row, slot);
    for (var i = 0u; i < CHUNK_SLOTS; i += 4u) {
      let at = vec4<u32>(
        column_of(slot + i, place_of(word, i)),
        column_of(slot + i + 1u, place_of(word, i + 1u)),
        column_of(slot + i + 2u, place_of(word, i + 2u)),
        column_of(slot + i + 3u, place_of(word, i + 3u)),
      );
      let w = mat4x4<f32>(
        load4_aligned(row, slot + i),
        load4_aligned(min(row + 1u, last_row), slot + i),
        load4_aligned(min(row + 2u, last_row), slot + i),
        load4_aligned(min(row + 3u, last_row), slot + i),
      );
      // #repeat t 4
      sums$t += gathered(token + $tu, at) * w;
      // #end
    }
  }
  // #repeat t 4
  for (var r = 0u; r < 4u; r++) { store(token + $tu, row + r, sums$t[r]); }
  // #end
}
