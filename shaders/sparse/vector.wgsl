// Any pattern, up to four right-hand sides at a time: LANES threads share a row, and each takes every LANES-th sixteen of its slots and gathers what they are
// multiplied with.
// #include "../common/grid.wgsl"
// #include "row_tree.wgsl"
// #include "shared.wgsl"
override ONE_TOKEN: bool = false;

fn gathered(token: u32, at: vec4<u32>) -> vec4<f32> {
  let first = token * params.k;
  return vec4<f32>(x[first + at.x], x[first + at.y], x[first + at.z], x[first + at.w]);
}

// For up to four tokens, what one of the threads that share a row has summed up.
fn sums_of(lane: u32, row: u32, token: u32) -> vec4<f32> {
  let last = params.tokens - 1u;
  var s0 = vec4<f32>(0.0);
  var s1 = vec4<f32>(0.0);
  var s2 = vec4<f32>(0.0);
  var s3 = vec4<f32>(0.0);
  for (var slot = lane * CHUNK_SLOTS; slot < params.slots; slot += LANES * CHUNK_SLOTS) {
    let word = places(row, slot);
    let chunk = load_chunk(row, slot);
    let scale = chunk_scale(chunk);
    // #repeat i 4
    {
      let w = scale * chunk4(chunk, $iu);
      let at = vec4<u32>(
        column_of(slot + 4u * $iu, place_of(word, 4u * $iu)),
        column_of(slot + 4u * $iu + 1u, place_of(word, 4u * $iu + 1u)),
        column_of(slot + 4u * $iu + 2u, place_of(word, 4u * $iu + 2u)),
        column_of(slot + 4u * $iu + 3u, place_of(word, 4u * $iu + 3u)),
      );
      s0 += w * gathered(token, at);
      if (!ONE_TOKEN) {
        s1 += w * gathered(min(token + 1u, last), at);
        s2 += w * gathered(min(token + 2u, last), at);
        s3 += w * gathered(min(token + 3u, last), at);
      }
    }
    // #end
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
  let rows_a_group = THREADS / LANES;
  let groups_a_token = (params.rows + rows_a_group - 1u) / rows_a_group;
  let token = group / groups_a_token * 4u;
  let lane = thread % LANES;
  let row = group % groups_a_token * rows_a_group + thread / LANES;
  let sums = added_up(thread, lane, sums_of(lane, min(row, params.rows - 1u), min(token, params.tokens - 1u)));
  if (lane == 0u) {
    for (var i = 0u; i < 4u; i++) { store(token + i, row, sums[i]); }
  }
}
