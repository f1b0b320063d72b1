// Causal attention with grouped queries, over all positions or a window of the last, a thread for each token and head: no barriers, which suits devices that run a workgroup's threads
// one after another, and prefills with many queries. The softmax is online, four positions at a time: what was summed is rescaled when a
// score raises the maximum. Each thread keeps its sums in a slice of workgroup memory.
// #include "soft_cap_value.wgsl"
@group(0) @binding(0) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> k_cache: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> v_cache: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> state: array<u32>;
@group(0) @binding(4) var<storage, read_write> out: array<vec4<f32>>;
@group(0) @binding(5) var<uniform> params: Params;

struct Params { tokens: u32, heads: u32, kv_heads: u32, head_dim: u32, max_positions: u32, scale: f32, window: u32, soft_cap: f32 }

const THREADS = 32u;
// Of the largest head, as vec4. The loops run to a parameter that has no constant bound, or some compilers unroll
// them for half a minute.
const MAX_VECTORS = 32u;
// Scores stay where their differences are finite.
const LARGEST = 1.5e38;

// exp for x <= 0; below -104 the result is below every f32.
fn exp_negative(x: vec4<f32>) -> vec4<f32> {
  return select(vec4<f32>(0.0), exp(max(x, vec4<f32>(-104.0))), x > vec4<f32>(-104.0));
}

var<workgroup> sums: array<vec4<f32>, THREADS * MAX_VECTORS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) workgroup_id: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let head = workgroup_id.x;
  let token = workgroup_id.y * THREADS + thread;
  let vectors = params.head_dim / 4u;
  if (token >= params.tokens || vectors > MAX_VECTORS) {
    return;
  }
  let start = (token * params.heads + head) * vectors;
  let kv_width = params.kv_heads * vectors;
  let kv_start = head * params.kv_heads / params.heads * vectors;
  let end = min(min(state[0], params.max_positions) + token + 1u, params.max_positions);
  let first = select(0u, end - params.window, params.window > 0u && end > params.window);

  for (var i = 0u; i < vectors; i++) {
    sums[i * THREADS + thread] = vec4<f32>(0.0);
  }
  var total = 0.0;
  var largest = -LARGEST;
  for (var position = first; position < end; position += 4u) {
    // Past the end, the last position stands in, with a weight of 0.
    let positions = vec4<u32>(position) + vec4<u32>(0u, 1u, 2u, 3u);
    let rows = min(positions, vec4<u32>(end - 1u)) * kv_width + vec4<u32>(kv_start);
    var p0 = vec4<f32>(0.0);
    var p1 = vec4<f32>(0.0);
    var p2 = vec4<f32>(0.0);
    var p3 = vec4<f32>(0.0);
    for (var i = 0u; i < vectors; i++) {
      let query = q[start + i];
      p0 += query * k_cache[rows.x + i];
      p1 += query * k_cache[rows.y + i];
      p2 += query * k_cache[rows.z + i];
      p3 += query * k_cache[rows.w + i];
    }
    let products = vec4<f32>(1.0) * mat4x4<f32>(p0, p1, p2, p3);
    var scores = clamp(products * params.scale, vec4<f32>(-LARGEST), vec4<f32>(LARGEST));
    if (params.soft_cap > 0.0) {
      scores = soft_cap(scores, params.soft_cap);
    }
    let highest = max(largest, max(max(scores.x, scores.y), max(scores.z, scores.w)));
    let shrink = exp_negative(vec4<f32>(largest - highest)).x;
    let weights = select(vec4<f32>(0.0), exp_negative(scores - highest), positions < vec4<u32>(end));
    largest = highest;
    total = total * shrink + dot(weights, vec4<f32>(1.0));
    for (var i = 0u; i < vectors; i++) {
      let at = i * THREADS + thread;
      sums[at] = sums[at] * shrink + weights.x * v_cache[rows.x + i] + weights.y * v_cache[rows.y + i] +
        weights.z * v_cache[rows.z + i] + weights.w * v_cache[rows.w + i];
    }
  }
  for (var i = 0u; i < vectors; i++) {
    out[start + i] = sums[i * THREADS + thread] / total;
  }
}
