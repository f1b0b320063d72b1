// Causal attention with grouped queries, a thread for each token and head: no barriers and no workgroup memory, which suits devices that
// run a workgroup's threads one after another, and prefills with many queries. Heads are multiples of 4, up to HEAD_VECTORS * 4 wide. The
// softmax is online: what was summed is rescaled when a score raises the maximum.
@group(0) @binding(0) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> k_cache: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> v_cache: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> state: array<u32>;
@group(0) @binding(4) var<storage, read_write> out: array<vec4<f32>>;
@group(0) @binding(5) var<uniform> params: Params;

struct Params { tokens: u32, heads: u32, kv_heads: u32, head_dim: u32, max_positions: u32, scale: f32 }

const THREADS = 32u;
const HEAD_VECTORS = 32u;
// Scores stay where their differences are finite.
const LARGEST = 1.5e38;

// exp for x <= 0; below -104 the result is below every f32.
fn exp_negative(x: f32) -> f32 {
  return select(0.0, exp(max(x, -104.0)), x > -104.0);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) workgroup_id: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let head = workgroup_id.x;
  let token = workgroup_id.y * THREADS + thread;
  let vectors = min(params.head_dim / 4u, HEAD_VECTORS);
  if (token >= params.tokens) {
    return;
  }
  let start = (token * params.heads + head) * vectors;
  let kv_width = params.kv_heads * vectors;
  let kv_start = head * params.kv_heads / params.heads * vectors;
  let visible = min(min(state[0], params.max_positions) + token + 1u, params.max_positions);

  var query: array<vec4<f32>, HEAD_VECTORS>;
  var sums: array<vec4<f32>, HEAD_VECTORS>;
  for (var i = 0u; i < vectors; i++) {
    query[i] = q[start + i];
    sums[i] = vec4<f32>(0.0);
  }
  var total = 0.0;
  var largest = -LARGEST;
  for (var position = 0u; position < visible; position++) {
    let row = position * kv_width + kv_start;
    var products = vec4<f32>(0.0);
    for (var i = 0u; i < vectors; i++) {
      products += query[i] * k_cache[row + i];
    }
    let score = clamp(dot(products, vec4<f32>(1.0)) * params.scale, -LARGEST, LARGEST);
    if (score > largest) {
      let shrink = exp_negative(largest - score);
      largest = score;
      total *= shrink;
      for (var i = 0u; i < vectors; i++) {
        sums[i] *= shrink;
      }
    }
    let weight = exp_negative(score - largest);
    total += weight;
    for (var i = 0u; i < vectors; i++) {
      sums[i] += weight * v_cache[row + i];
    }
  }
  for (var i = 0u; i < vectors; i++) {
    out[start + i] = sums[i] / total;
  }
}
