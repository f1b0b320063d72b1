// Many tokens: each thread owns 4 rows x 4 tokens and walks k a word at a time, without workgroup memory: 64 products for 8 loads. A workgroup
// of 8 x 8 threads covers 32 rows x 32 tokens.
// #include "integer_shared.wgsl"
// #include "integer_words.wgsl"
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
  if (row >= params.rows || token >= params.tokens) {
    return;
  }
  let last_token = params.tokens - 1u;
  let t1 = min(token + 1u, last_token);
  let t2 = min(token + 2u, last_token);
  let t3 = min(token + 3u, last_token);
  var a0 = vec4<i32>(0); // token 0, rows 0..3
  var a1 = vec4<i32>(0);
  var a2 = vec4<i32>(0);
  var a3 = vec4<i32>(0);
  for (var start = 0u; start < params.words; start += CHUNK_WORDS) {
    var s0 = Sums();
    var s1 = Sums();
    var s2 = Sums();
    var s3 = Sums();
    for (var word = start; word < min(start + CHUNK_WORDS, params.words); word++) {
      let w = left(four_words(row, word));
      s0 = plus(s0, right(x_word(token, word)), w);
      s1 = plus(s1, right(x_word(t1, word)), w);
      s2 = plus(s2, right(x_word(t2, word)), w);
      s3 = plus(s3, right(x_word(t3, word)), w);
    }
    a0 += whole(s0);
    a1 += whole(s1);
    a2 += whole(s2);
    a3 += whole(s3);
  }
  store4(token, row, a0);
  store4(token + 1u, row, a1);
  store4(token + 2u, row, a2);
  store4(token + 3u, row, a3);
}
