// Rotary embedding, half style: rotates the pair (i, i + head_dim / 2) of each head; a pair a thread.
// #include "../common/each.wgsl"
// #include "turn.wgsl"
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> frequencies: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> state: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

struct Params { tokens: u32, heads: u32, head_dim: u32 }

fn each(pair: u32) {
  let half = params.head_dim / 2u;
  let head = pair / half;
  if (head >= params.tokens * params.heads) { return; }
  let i = pair % half;
  let t = turn(state[0] + head / params.heads, frequencies[i]);
  let at = head * params.head_dim + i;
  let a = x[at];
  let b = x[at + half];
  out[at] = a * t.x - b * t.y;
  out[at + half] = b * t.x + a * t.y;
}
