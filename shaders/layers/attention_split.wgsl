// Attention of few tokens, split over keys: a workgroup takes a share of the positions for GROUP queries that read the same keys and values, each of which is loaded once. Where
// FUSED, it is one token, whose heads are normalized and rotated here, and whose key and value are put into the caches by the workgroups that need them.
// Loops have bounds that compilers do not know, or some unroll them for half a minute. Scores first, LANES threads a position; then each thread adds up an eight of the values, over a share of the positions. The softmax is
// online over tiles. With one split `out` receives the result, [tokens, heads · head_dim]; else, for each token, head and split, the largest score, the
// sum of the weights, and the weighted values: attention_combine.wgsl joins them.
// #include "heads.wgsl"
// #include "soft_cap_value.wgsl"
// #include "exp_negative.wgsl"
override WORKGROUP: u32 = 64;
override GROUP: u32 = 1; // up to 8
override LANES: u32 = 1;
override TILE: u32 = 256;
override QUADS: u32 = 16; // of a head, in whole eights
override FUSED: bool = false;

var<workgroup> query: array<vec4<f32>, GROUP * QUADS>;
// Of a position LANES parts, of which the first becomes the whole, then the weight.
var<workgroup> scores: array<f32, GROUP * TILE * LANES>;
var<workgroup> exchange: array<vec4<f32>, 2u * WORKGROUP>;

// The largest in each column of what the threads hold, or the sum; all threads get it.
fn reduce(thread: u32, mine: Eight, sums: bool) -> Eight {
  workgroupBarrier();
  exchange[2u * thread] = mine.low;
  exchange[2u * thread + 1u] = mine.high;
  workgroupBarrier();
  for (var width = WORKGROUP / 2u; width >= min(params.tokens, 1u); width /= 2u) {
    if (thread < width) {
      // #repeat h 2
      if (GROUP > 4u * $hu) {
        let a$h = exchange[2u * thread + $hu];
        let b$h = exchange[2u * (thread + width) + $hu];
        exchange[2u * thread + $hu] = select(max(a$h, b$h), a$h + b$h, sums);
      }
      // #end
    }
    workgroupBarrier();
  }
  return Eight(exchange[0], exchange[1]);
}

fn at8(eight: Eight, i: u32) -> f32 {
  return select(eight.high[i & 3u], eight.low[i & 3u], i < 4u);
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let shared_by = params.heads / params.kv_heads;
  let tiles = (shared_by + GROUP - 1u) / GROUP;
  let kv_head = workgroup_id.x / tiles;
  let first_query = workgroup_id.x % tiles * GROUP;
  let queries = min(GROUP, shared_by - first_query);
  let split = workgroup_id.y;
  let token = workgroup_id.z;
  let head = kv_head * shared_by + first_query;

  let position = min(state[0], params.max_positions - 1u) + token;
  let seen = min(position + 1u, params.max_positions);
  let unseen = select(0u, seen - params.window, params.window > 0u && seen > params.window);
  let share = (seen - unseen + params.splits - 1u) / params.splits;
  let first = min(unseen + split * share, seen);
  let end = min(first + share, seen);

  if (FUSED && end == seen && first < end) {
    // The token's own key and value: a group of either a thread.
    for (var i = thread; i < 2u * groups(); i += WORKGROUP) {
      let group = i >> 1u;
      let source = head_at(0u, params.heads + (i & 1u) * params.kv_heads + kv_head);
      var numbers = Group();
      for (var j = 0u; 4u * j < inside(group); j++) { numbers[j] = rotated4(source, 32u * group + 4u * j); }
      let to = (seen - 1u) * params.kv_heads + kv_head;
      if ((i & 1u) == 0u) { keep0(to, group, numbers); } else { keep1(to, group, numbers); }
    }
  }
  for (var i = thread; i < GROUP * QUADS; i += WORKGROUP) {
    let g = min(i / QUADS, queries - 1u);
    let column = 4u * (i % QUADS);
    if (FUSED) {
      query[i] = rotated4(head_at(0u, head + g), column);
    } else {
      let start = (token * params.heads + head + g) * params.head_dim;
      query[i] = vec4<f32>(0.0);
      for (var j = 0u; j < min(4u, params.head_dim - min(column, params.head_dim)); j++) { query[i][j] = heads[start + column + j]; }
    }
  }
  storageBarrier();
  workgroupBarrier();

  let lane = thread % LANES;
  let column = thread % eights();
  let part = thread / eights();
  let parts = WORKGROUP / eights();
  // #repeat g 8
  var low$g = vec4<f32>(0.0);
  var high$g = vec4<f32>(0.0);
  // #end
  var totals = Eight();
  var largest = Eight(vec4<f32>(-LARGEST), vec4<f32>(-LARGEST));
  for (var tile = first; tile < end; tile += TILE) {
    let count = min(TILE, end - tile);
    for (var p = thread / LANES; p < count; p += WORKGROUP / LANES) {
      let row = (tile + p) * params.kv_heads + kv_head;
      // #repeat g 8
      var dot$g = 0.0;
      // #end
      for (var i = lane; i < eights(); i += LANES) {
        let key = cached0(row, i);
        // #repeat g 8
        if (GROUP > $gu) { dot$g += dot(query[$gu * QUADS + 2u * i], key.low) + dot(query[$gu * QUADS + 2u * i + 1u], key.high); }
        // #end
      }
      // #repeat g 8
      if (GROUP > $gu) { scores[($gu * TILE + p) * LANES + lane] = dot$g; }
      // #end
    }
    if (LANES > 1u) { workgroupBarrier(); }
    var mine = largest;
    for (var p = thread; p < count; p += WORKGROUP) {
      // #repeat g 8
      if (GROUP > $gu) {
        let at = ($gu * TILE + p) * LANES;
        var sum = scores[at];
        for (var l = 1u; l < LANES; l++) { sum += scores[at + l]; }
        var score = clamp(sum * params.scale, -LARGEST, LARGEST);
        if (params.soft_cap > 0.0) { score = soft_cap(vec4<f32>(score), params.soft_cap).x; }
        scores[at] = score;
        if ($gu < 4u) { mine.low[$gu % 4u] = max(mine.low[$gu % 4u], score); } else { mine.high[$gu % 4u] = max(mine.high[$gu % 4u], score); }
      }
      // #end
    }
    let highest = reduce(thread, mine, false);
    let shrink = Eight(exp_negative4(largest.low - highest.low), exp_negative4(largest.high - highest.high));
    largest = highest;
    totals = Eight(totals.low * shrink.low, totals.high * shrink.high);
    for (var p = thread; p < count; p += WORKGROUP) {
      // #repeat g 8
      if (GROUP > $gu) {
        let at = ($gu * TILE + p) * LANES;
        let weight = exp_negative(scores[at] - at8(highest, $gu));
        scores[at] = weight;
        if ($gu < 4u) { totals.low[$gu % 4u] += weight; } else { totals.high[$gu % 4u] += weight; }
      }
      // #end
    }
    workgroupBarrier();
    // #repeat g 8
    if (GROUP > $gu) {
      low$g *= at8(shrink, $gu);
      high$g *= at8(shrink, $gu);
    }
    // #end
    if (part < parts) {
      for (var p = part; p < count; p += parts) {
        let value = cached1((tile + p) * params.kv_heads + kv_head, column);
        // #repeat g 8
        if (GROUP > $gu) {
          let weight = scores[($gu * TILE + p) * LANES];
          low$g += weight * value.low;
          high$g += weight * value.high;
        }
        // #end
      }
    }
    workgroupBarrier();
  }
  let total = reduce(thread, totals, true);
  // #repeat g 8
  if (GROUP > $gu) {
    workgroupBarrier();
    exchange[2u * thread] = low$g;
    exchange[2u * thread + 1u] = high$g;
    workgroupBarrier();
    if (part == 0u && $gu < queries) {
      var sum = Eight();
      for (var i = 0u; i < parts; i++) {
        sum.low += exchange[2u * (i * eights() + column)];
        sum.high += exchange[2u * (i * eights() + column) + 1u];
      }
      let row = token * params.heads + head + $gu;
      if (params.splits == 1u) {
        sum = Eight(sum.low / at8(total, $gu), sum.high / at8(total, $gu));
        put(row * params.head_dim, column, sum);
      } else {
        let start = (row * params.splits + split) * (params.head_dim + 2u);
        if (column == 0u) {
          out[start] = at8(largest, $gu);
          out[start + 1u] = at8(total, $gu);
        }
        put(start + 2u, column, sum);
      }
    }
  }
  // #end
}

fn put(start: u32, column: u32, values: Eight) {
  for (var i = 0u; i < min(8u, params.head_dim - 8u * column); i++) { out[start + 8u * column + i] = at8(values, i); }
}
