// A few tokens (1 to 4): LANES threads share four rows, each takes every LANES-th word of them, and a tree adds their sums.
// #include "../common/grid.wgsl"
// #include "integer_shared.wgsl"
// #include "integer_words.wgsl"
override LANES: u32 = 32;
override ONE_TOKEN: bool = false;
const THREADS = 64u;

// Of four rows, for each thread of each token.
var<workgroup> sums: array<vec4<i32>, 4u * THREADS>;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(local_invocation_index) thread: u32,
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(num_workgroups) num_workgroups: vec3<u32>,
) {
  let group = workgroup_index(workgroup_id, num_workgroups);
  let lane = thread % LANES;
  let row = (group * (THREADS / LANES) + thread / LANES) * 4u;
  let last_token = params.tokens - 1u;
  var a0 = vec4<i32>(0);
  var a1 = vec4<i32>(0);
  var a2 = vec4<i32>(0);
  var a3 = vec4<i32>(0);
  for (var start = lane; start < params.words; start += LANES * CHUNK_WORDS) {
    var s0 = Sums();
    var s1 = Sums();
    var s2 = Sums();
    var s3 = Sums();
    for (var word = start; word < min(start + LANES * CHUNK_WORDS, params.words); word += LANES) {
      let w = left(four_words(row, word));
      s0 = plus(s0, right(x_word(0u, word)), w);
      if (!ONE_TOKEN) {
        s1 = plus(s1, right(x_word(min(1u, last_token), word)), w);
        s2 = plus(s2, right(x_word(min(2u, last_token), word)), w);
        s3 = plus(s3, right(x_word(min(3u, last_token), word)), w);
      }
    }
    a0 += whole(s0);
    a1 += whole(s1);
    a2 += whole(s2);
    a3 += whole(s3);
  }
  if (LANES > 1u) {
    sums[thread] = a0;
    sums[THREADS + thread] = a1;
    sums[2u * THREADS + thread] = a2;
    sums[3u * THREADS + thread] = a3;
    workgroupBarrier();
    for (var width = LANES / 2u; width > 0u; width /= 2u) {
      if (lane < width) {
        for (var at = thread; at < params.tokens * THREADS; at += THREADS) { sums[at] += sums[at + width]; }
      }
      workgroupBarrier();
    }
    a0 = sums[thread];
    a1 = sums[THREADS + thread];
    a2 = sums[2u * THREADS + thread];
    a3 = sums[3u * THREADS + thread];
  }
  if (lane == 0u) {
    store4(0u, row, a0);
    store4(1u, row, a1);
    store4(2u, row, a2);
    store4(3u, row, a3);
  }
}
