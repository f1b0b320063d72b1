// Causal attention with grouped queries, over all positions or a window of the last, a workgroup for each token and head. Positions pass in tiles of WORKGROUP: each
// thread scores one position, then each owns up to four columns of the output and adds up the tile. The softmax is
// online: the running sums are rescaled where a tile raises the maximum. Tiles are summed by themselves first.
// #include "soft_cap_value.wgsl"
@group(0) @binding(0) var<storage, read> q: array<f32>;
@group(0) @binding(1) var<storage, read> k_cache: array<f32>;
@group(0) @binding(2) var<storage, read> v_cache: array<f32>;
@group(0) @binding(3) var<storage, read> state: array<u32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

struct Params { tokens: u32, heads: u32, kv_heads: u32, head_dim: u32, max_positions: u32, scale: f32, window: u32, soft_cap: f32 }

override WORKGROUP: u32 = 64;
const COLUMNS = 4u;

var<workgroup> query: array<f32, WORKGROUP * COLUMNS>;
var<workgroup> scores: array<f32, WORKGROUP>;
var<workgroup> weights: array<f32, WORKGROUP>;

// Scores stay where their differences are finite.
const LARGEST = 1.5e38;

// exp for x <= 0; below -104 the result is below every f32.
fn exp_negative(x: f32) -> f32 {
  return select(0.0, exp(max(x, -104.0)), x > -104.0);
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) workgroup_id: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let head = workgroup_id.x;
  let token = workgroup_id.y;
  let head_dim = params.head_dim;
  let start = (token * params.heads + head) * head_dim;
  let kv_width = params.kv_heads * head_dim;
  let kv_start = head * params.kv_heads / params.heads * head_dim;
  let end = min(min(state[0], params.max_positions) + token + 1u, params.max_positions);
  let first = select(0u, end - params.window, params.window > 0u && end > params.window);

  for (var i = thread; i < head_dim; i += WORKGROUP) { query[i] = q[start + i]; }
  workgroupBarrier();

  var columns = vec4<f32>(0.0);
  var total = 0.0;
  var largest = -LARGEST;
  for (var tile = first; tile < end; tile += WORKGROUP) {
    let count = min(WORKGROUP, end - tile);
    if (thread < count) {
      let key = (tile + thread) * kv_width + kv_start;
      var dot = 0.0;
      for (var i = 0u; i < head_dim; i++) { dot += query[i] * k_cache[key + i]; }
      var score = clamp(dot * params.scale, -LARGEST, LARGEST);
      if (params.soft_cap > 0.0) { score = soft_cap(vec4<f32>(score), params.soft_cap).x; }
      scores[thread] = score;
    }
    workgroupBarrier();
    var tile_largest = largest;
    for (var i = 0u; i < count; i++) { tile_largest = max(tile_largest, scores[i]); }
    if (thread < count) { weights[thread] = exp_negative(scores[thread] - tile_largest); }
    workgroupBarrier();
    var tile_columns = vec4<f32>(0.0);
    var tile_total = 0.0;
    for (var i = 0u; i < count; i++) {
      let value = (tile + i) * kv_width + kv_start;
      let weight = weights[i];
      tile_total += weight;
      for (var j = 0u; j < COLUMNS; j++) {
        let column = j * WORKGROUP + thread;
        if (column < head_dim) { tile_columns[j] += weight * v_cache[value + column]; }
      }
    }
    let factor = exp_negative(largest - tile_largest);
    columns = columns * factor + tile_columns;
    total = total * factor + tile_total;
    largest = tile_largest;
  }
  for (var j = 0u; j < COLUMNS; j++) {
    let column = j * WORKGROUP + thread;
    if (column < head_dim) { out[start + column] = columns[j] / total; }
  }
}
