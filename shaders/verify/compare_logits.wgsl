// Two models' logits of a slice of the vocabulary, a workgroup a token: of each the largest, the first index that has it, the sum of
// exp(x - largest), the target's, and how many are not finite; and what the divergence takes. Logits that are not finite count as absent.
// src/verify/combine-scores.ts puts slices together. Sums run over fixed trees.
const THREADS = 64u;
const FIELDS = 11u; // src/verify/compare-logits.ts reads them in this order
const NONE = 0xffffffffu;
const LOWEST = -0x1.fffffep+127;
// Differences of logits stay finite when scaled by this, and exact unless they are too small to matter.
const SCALE = 0x1p-32;
// exp of less is no normal number.
const LEAST = -87.0;

struct Params {
  start: u32, // of the slice in the vocabulary
  size: u32,
}

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read> targets: array<u32>;
@group(0) @binding(3) var<storage, read_write> scores: array<u32>; // numbers as their bits
@group(0) @binding(4) var<uniform> params: Params;

var<workgroup> bests: array<vec2<f32>, THREADS>;
var<workgroup> firsts: array<vec4<u32>, THREADS>; // and counts of what is not finite
var<workgroup> sums: array<vec3<f32>, THREADS>;

fn is_finite(value: f32) -> bool {
  return (bitcast<u32>(value) & 0x7f800000u) != 0x7f800000u;
}

// Denormals count as 0 on every device: whether one flushes them may not decide which token is first.
fn logit(value: f32) -> f32 {
  return select(value, 0.0, (bitcast<u32>(value) & 0x7f800000u) == 0u);
}

// Whether the second is the larger one, or as large and earlier. NONE is no index.
fn second_wins(first: f32, first_at: u32, second: f32, second_at: u32) -> bool {
  return second_at != NONE && (first_at == NONE || second > first || (second == first && second_at < first_at));
}

// x - y, scaled, without overflow.
fn scaled(x: f32, y: f32) -> f32 {
  return x * SCALE - y * SCALE;
}

fn exp_scaled(difference: f32) -> f32 {
  return select(0.0, exp(max(difference, LEAST * SCALE) * (1.0 / SCALE)), difference >= LEAST * SCALE);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3<u32>) {
  let token = group.x;
  let base = token * params.size;
  var best = vec2<f32>(LOWEST);
  var at = vec2<u32>(NONE);
  var bad = vec2<u32>(0u);
  for (var i = thread; i < params.size; i += THREADS) {
    let xa = logit(a[base + i]);
    let xb = logit(b[base + i]);
    if (!is_finite(xa)) { bad.x += 1u; } else if (second_wins(best.x, at.x, xa, i)) { best.x = xa; at.x = i; }
    if (!is_finite(xb)) { bad.y += 1u; } else if (second_wins(best.y, at.y, xb, i)) { best.y = xb; at.y = i; }
  }
  bests[thread] = best;
  firsts[thread] = vec4(at, bad);
  workgroupBarrier();
  for (var width = THREADS / 2u; width > 0u; width /= 2u) {
    if (thread < width) {
      var top = bests[thread];
      var first = firsts[thread];
      let other = bests[thread + width];
      let second = firsts[thread + width];
      if (second_wins(top.x, first.x, other.x, second.x)) { top.x = other.x; first.x = second.x; }
      if (second_wins(top.y, first.y, other.y, second.y)) { top.y = other.y; first.y = second.y; }
      bests[thread] = top;
      firsts[thread] = vec4(first.xy, first.zw + second.zw);
    }
    workgroupBarrier();
  }
  let top = bests[0];

  var sum = vec3<f32>(0.0);
  for (var i = thread; i < params.size; i += THREADS) {
    let xa = logit(a[base + i]);
    let xb = logit(b[base + i]);
    let above = scaled(xa, top.x);
    let other = scaled(xb, top.y);
    if (is_finite(xb)) { sum.y += exp_scaled(other); }
    if (is_finite(xa)) {
      let mass = exp_scaled(above);
      sum.x += mass;
      if (is_finite(xb)) { sum.z += mass * (above - other); }
    }
  }
  sums[thread] = sum;
  workgroupBarrier();
  for (var width = THREADS / 2u; width > 0u; width /= 2u) {
    if (thread < width) {
      sums[thread] += sums[thread + width];
    }
    workgroupBarrier();
  }

  if (thread == 0u) {
    let out = token * FIELDS;
    let here = targets[token] - params.start;
    // Whoever puts the slices together knows which one holds the target.
    let row = base + min(here, params.size - 1u);
    let total = sums[0];
    let first = firsts[0];
    scores[out] = bitcast<u32>(top.x);
    scores[out + 1u] = first.x;
    scores[out + 2u] = bitcast<u32>(total.x);
    scores[out + 3u] = bitcast<u32>(a[row]);
    scores[out + 4u] = first.z;
    scores[out + 5u] = bitcast<u32>(top.y);
    scores[out + 6u] = first.y;
    scores[out + 7u] = bitcast<u32>(total.y);
    scores[out + 8u] = bitcast<u32>(b[row]);
    scores[out + 9u] = first.w;
    scores[out + 10u] = bitcast<u32>(total.z);
  }
}
