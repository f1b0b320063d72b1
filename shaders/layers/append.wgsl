// Writes the batch's keys and values into the caches, from the state's position on; a group of 32 numbers of a head, of both, a thread.
// #include "../common/each.wgsl"
@group(0) @binding(0) var<storage, read> k: array<f32>;
@group(0) @binding(1) var<storage, read> v: array<f32>;
@group(0) @binding(2) var<storage, read> state: array<u32>;
@group(0) @binding(3) var<uniform> params: Params;

struct Params { tokens: u32, kv_heads: u32, head_dim: u32, max_positions: u32 }

fn head_dim() -> u32 {
  return params.head_dim;
}

fn each(i: u32) {
  let group = i % groups();
  let head = i / groups();
  let token = head / params.kv_heads;
  // Tokens past the end of the cache are dropped: the host doesn't run any.
  if (token >= params.tokens || state[0] >= params.max_positions || token >= params.max_positions - state[0]) { return; }
  var keys = Group();
  var values = Group();
  for (var j = 0u; j < inside(group); j++) {
    let at = head * params.head_dim + 32u * group + j;
    keys[j >> 2u][j & 3u] = k[at];
    values[j >> 2u][j & 3u] = v[at];
  }
  let to = state[0] * params.kv_heads + head;
  keep0(to, group, keys);
  keep1(to, group, values);
}
