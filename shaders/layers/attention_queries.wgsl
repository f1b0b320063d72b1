// What kernels share in which a thread owns a query: causal attention with grouped queries, over all positions or a window of the last. The threads of a
// workgroup are queries that read the same keys and values: those of a group token by token. Each keeps its sums in a slice of workgroup memory.
// #include "soft_cap_value.wgsl"
// #include "exp_negative.wgsl"
@group(0) @binding(0) var<storage, read> q: array<f32>;
@group(0) @binding(1) var<storage, read> state: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

struct Params { tokens: u32, heads: u32, kv_heads: u32, head_dim: u32, max_positions: u32, scale: f32, window: u32, soft_cap: f32 }

override THREADS: u32 = 32;
// Vectors of the largest head.
override QUADS: u32 = 32;

var<workgroup> sums: array<vec4<f32>, THREADS * QUADS>;

fn head_dim() -> u32 {
  return params.head_dim;
}

// Positions from `first` on, up to `end`.
struct Seen { first: u32, end: u32 }

fn seen_by(token: u32) -> Seen {
  let end = min(min(state[0], params.max_positions) + token + 1u, params.max_positions);
  return Seen(select(0u, end - params.window, params.window > 0u && end > params.window), end);
}

fn score4(products: vec4<f32>) -> vec4<f32> {
  let scores = clamp(products * params.scale, vec4<f32>(-LARGEST), vec4<f32>(LARGEST));
  if (params.soft_cap > 0.0) { return soft_cap(scores, params.soft_cap); }
  return scores;
}

// Numbers i .. i + 3 of the head at `start`; those behind it are 0.
fn query4(start: u32, i: u32) -> vec4<f32> {
  if (i + 3u < params.head_dim) { return vec4<f32>(q[start + i], q[start + i + 1u], q[start + i + 2u], q[start + i + 3u]); }
  var values = vec4<f32>(0.0);
  for (var j = 0u; i + j < params.head_dim; j++) { values[j] = q[start + i + j]; }
  return values;
}

fn finish(start: u32, thread: u32, total: f32) {
  for (var i = 0u; i < params.head_dim; i++) { out[start + i] = sums[(i >> 2u) * THREADS + thread][i & 3u] / total; }
}
