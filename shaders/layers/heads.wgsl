// Heads as products with stacked matrices leave them, [tokens, (heads + 2 · kv_heads) · head_dim], queries first: normalized where NORMED, and rotated
// where ROTARY, except values.
// #include "turn.wgsl"
@group(0) @binding(0) var<storage, read> heads: array<f32>;
@group(0) @binding(1) var<storage, read> state: array<u32>;
@group(0) @binding(2) var<storage, read> frequencies: array<vec2<u32>>; // anything readable where not ROTARY
@group(0) @binding(3) var<storage, read> query_norm: array<f32>;        // and these where not NORMED
@group(0) @binding(4) var<storage, read> key_norm: array<f32>;
@group(0) @binding(5) var<storage, read_write> out: array<f32>;
@group(0) @binding(6) var<uniform> params: Params;

struct Params {
  tokens: u32,
  heads: u32,
  kv_heads: u32,
  head_dim: u32,
  max_positions: u32,
  epsilon: f32,
  offset: f32, // added to the weights of the norms
  scale: f32,
  window: u32,
  soft_cap: f32,
  splits: u32,
}

override ROTARY: bool = false;
override NORMED: bool = false;

const QUERY = 0u;
const KEY = 1u;
const VALUE = 2u;

struct Head { start: u32, kind: u32, position: u32, scale: f32, factor: f32 }

fn head_dim() -> u32 {
  return params.head_dim;
}

// Number `index` of a token's heads, keys behind queries and values behind keys.
fn head_at(token: u32, index: u32) -> Head {
  let start = (token * (params.heads + 2u * params.kv_heads) + index) * params.head_dim;
  let kind = select(QUERY, select(KEY, VALUE, index >= params.heads + params.kv_heads), index >= params.heads);
  var head = Head(start, kind, state[0] + token, 1.0, 1.0);
  if (NORMED && kind != VALUE) {
    // As in rms_norm.wgsl: squares of numbers that a power of two brought near 1.
    var magnitude = 0u;
    for (var i = 0u; i < params.head_dim; i++) { magnitude = max(magnitude, bitcast<u32>(heads[start + i]) & 0x7fffffffu); }
    let exponent = clamp(magnitude >> 23u, 87u, 253u);
    head.scale = bitcast<f32>((254u - exponent) << 23u);
    var sum = 0.0;
    for (var i = 0u; i < params.head_dim; i++) {
      let value = heads[start + i] * head.scale;
      sum += value * value;
    }
    head.factor = 1.0 / sqrt(sum / f32(params.head_dim) + params.epsilon * head.scale * head.scale);
  }
  return head;
}

fn normed(head: Head, i: u32) -> f32 {
  let x = heads[head.start + i];
  if (!NORMED || head.kind == VALUE) { return x; }
  var weight = 0.0;
  if (head.kind == QUERY) { weight = query_norm[i]; } else { weight = key_norm[i]; }
  return x * head.scale * head.factor * (weight + params.offset);
}

fn rotated(head: Head, i: u32) -> f32 {
  if (i >= params.head_dim) { return 0.0; }
  if (!ROTARY || head.kind == VALUE) { return normed(head, i); }
  let half = params.head_dim / 2u;
  let upper = i >= half;
  let pair = i - select(0u, half, upper);
  let t = turn(head.position, frequencies[pair]);
  let a = normed(head, pair);
  let b = normed(head, pair + half);
  return select(a * t.x - b * t.y, b * t.x + a * t.y, upper);
}

// Numbers i .. i + 3; those behind the head are 0.
fn rotated4(head: Head, i: u32) -> vec4<f32> {
  return vec4<f32>(rotated(head, i), rotated(head, i + 1u), rotated(head, i + 2u), rotated(head, i + 3u));
}
