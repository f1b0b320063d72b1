// Copies the batch's keys and values into the caches, from the state's position on; an element of both a thread.
// #include "../common/each.wgsl"
@group(0) @binding(0) var<storage, read> k: array<u32>;
@group(0) @binding(1) var<storage, read> v: array<u32>;
@group(0) @binding(2) var<storage, read> state: array<u32>;
@group(0) @binding(3) var<storage, read_write> k_cache: array<u32>;
@group(0) @binding(4) var<storage, read_write> v_cache: array<u32>;
@group(0) @binding(5) var<uniform> params: Params;

struct Params { tokens: u32, width: u32, max_positions: u32 }

fn each(i: u32) {
  let token = i / params.width;
  // Tokens past the end of the cache are dropped: the host doesn't run any.
  if (token >= params.tokens || state[0] >= params.max_positions || token >= params.max_positions - state[0]) { return; }
  let at = state[0] * params.width + i;
  k_cache[at] = k[i];
  v_cache[at] = v[i];
}
