// Normalizes and rotates the heads of a batch: queries go to `out`, [tokens, heads · head_dim], keys and values into the caches, from the state's position on. A group
// of 32 numbers of a head a thread.
// #include "../common/each.wgsl"
// #include "heads.wgsl"
fn each(i: u32) {
  let group = i % groups();
  let count = params.heads + 2u * params.kv_heads;
  let token = i / groups() / count;
  let index = i / groups() % count;
  if (token >= params.tokens) { return; }
  // Tokens past the end of the cache are dropped: the host doesn't run any.
  let kept = state[0] < params.max_positions && token < params.max_positions - state[0];
  let head = head_at(token, index);
  var values = Group();
  // A bound that compilers do not know, or some unroll it.
  for (var j = 0u; 4u * j < inside(group); j++) { values[j] = rotated4(head, 32u * group + 4u * j); }
  if (head.kind == QUERY) {
    let start = (token * params.heads + index) * params.head_dim + 32u * group;
    for (var j = 0u; j < inside(group); j++) { out[start + j] = values[j >> 2u][j & 3u]; }
  } else if (kept) {
    let to = head.position * params.kv_heads + (index - params.heads) % params.kv_heads;
    if (head.kind == KEY) { keep0(to, group, values); } else { keep1(to, group, values); }
  }
}
