// Rows on the lanes of a subgroup, tokens broadcast, as in broadcast_body.wgsl: each thread owns 4 rows x TOKENS tokens, and lane l holds word
// l % 4 of four words of the even or the odd token of a pair. Any subgroup of 8 lanes or more.
// #include "../common/grid.wgsl"
override TOKENS: u32 = 8; // a workgroup's: a power of two up to 16
const THREADS = 64u;
const HELD = 4u;

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
  let last_word = params.words - 1u;
  // #repeat r 4
  let row$r = min(row + $ru, params.rows - 1u);
  // #end
  // #repeat p 8
  let token$p = min(first_token + 2u * $pu + ((lane >> 2u) & 1u), params.tokens - 1u);
  var even$p = vec4<i32>(0);
  var odd$p = vec4<i32>(0);
  // #end
  for (var start = 0u; start < params.words; start += CHUNK_WORDS) {
    // #repeat p 8
    var even_sums$p = Sums();
    var odd_sums$p = Sums();
    // #end
    for (var word = start; word < min(start + CHUNK_WORDS, params.words); word += HELD) {
      let held = word + (lane & (HELD - 1u));
      // #repeat p 8
      var x$p = Right();
      if (TOKENS > 2u * $pu) { x$p = right(select(0u, x_word(token$p, min(held, last_word)), held < params.words)); }
      // #end
      // #repeat r 4
      let words$r = words_of(row$r, word);
      // #end
      // #repeat c 4
      {
        // What stands for words behind the row is multiplied with zeros.
        let w = left(vec4<u32>(words0[$c], words1[$c], words2[$c], words3[$c]));
        // #repeat p 8
        if (TOKENS > 2u * $pu) { even_sums$p = plus(even_sums$p, subgroupBroadcast(x$p, $cu), w); }
        if (TOKENS > 2u * $pu + 1u) { odd_sums$p = plus(odd_sums$p, subgroupBroadcast(x$p, $cu + HELD), w); }
        // #end
      }
      // #end
    }
    // #repeat p 8
    if (TOKENS > 2u * $pu) { even$p += whole(even_sums$p); }
    if (TOKENS > 2u * $pu + 1u) { odd$p += whole(odd_sums$p); }
    // #end
  }
  // #repeat p 8
  if (TOKENS > 2u * $pu) { store4(first_token + 2u * $pu, row, even$p); }
  if (TOKENS > 2u * $pu + 1u) { store4(first_token + 2u * $pu + 1u, row, odd$p); }
  // #end
}
