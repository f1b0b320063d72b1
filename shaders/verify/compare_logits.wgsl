// Scores two models on the same tokens, a workgroup a token: negative log-likelihood of the target under each, KL(p_a || p_b) in nats,
// whether their first choices agree, and how many logits are not finite. Sums run over fixed trees.
const THREADS = 64u;
const FIELDS = 6u; // src/verify/compare-logits.ts reads them in this order

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read> targets: array<u32>;
@group(0) @binding(3) var<storage, read_write> scores: array<f32>;
@group(0) @binding(4) var<uniform> vocabulary: vec4<u32>; // its size; the rest is padding

var<workgroup> tree: array<vec4<f32>, THREADS>;
var<workgroup> firsts: array<vec2<u32>, THREADS>;

fn sum_of(thread: u32, value: vec4<f32>) -> vec4<f32> {
  workgroupBarrier();
  tree[thread] = value;
  workgroupBarrier();
  for (var width = THREADS / 2u; width > 0u; width /= 2u) {
    if (thread < width) {
      tree[thread] += tree[thread + width];
    }
    workgroupBarrier();
  }
  return tree[0];
}

fn is_finite(value: f32) -> bool {
  return (bitcast<u32>(value) & 0x7f800000u) != 0x7f800000u;
}

@compute @workgroup_size(THREADS)
fn main(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3<u32>) {
  let token = group.x;
  let base = token * vocabulary.x;
  // The largest logit of each and the lowest index that has it.
  var best = vec2<f32>(-0x1p127);
  var at = vec2<u32>(0u);
  var bad = vec2<f32>(0.0);
  for (var i = thread; i < vocabulary.x; i += THREADS) {
    let xa = a[base + i];
    let xb = b[base + i];
    if (!is_finite(xa)) { bad.x += 1.0; } else if (xa > best.x) { best.x = xa; at.x = i; }
    if (!is_finite(xb)) { bad.y += 1.0; } else if (xb > best.y) { best.y = xb; at.y = i; }
  }
  tree[thread] = vec4(best, bad);
  firsts[thread] = at;
  workgroupBarrier();
  for (var width = THREADS / 2u; width > 0u; width /= 2u) {
    if (thread < width) {
      var mine = tree[thread];
      let other = tree[thread + width];
      var first = firsts[thread];
      let second = firsts[thread + width];
      if (other.x > mine.x || (other.x == mine.x && second.x < first.x)) { mine.x = other.x; first.x = second.x; }
      if (other.y > mine.y || (other.y == mine.y && second.y < first.y)) { mine.y = other.y; first.y = second.y; }
      tree[thread] = vec4(mine.xy, mine.zw + other.zw);
      firsts[thread] = first;
    }
    workgroupBarrier();
  }
  let top = tree[0];
  let agree = select(0.0, 1.0, firsts[0].x == firsts[0].y);
  workgroupBarrier();

  var masses = vec4<f32>(0.0);
  for (var i = thread; i < vocabulary.x; i += THREADS) {
    masses.x += exp(a[base + i] - top.x);
    masses.y += exp(b[base + i] - top.y);
  }
  let mass = sum_of(thread, masses);
  let lse = top.xy + log(mass.xy);

  var divergence = vec4<f32>(0.0);
  for (var i = thread; i < vocabulary.x; i += THREADS) {
    let la = a[base + i] - lse.x;
    let lb = b[base + i] - lse.y;
    divergence.x += exp(la) * (la - lb);
  }
  let kl = sum_of(thread, divergence).x;

  if (thread == 0u) {
    let row = base + min(targets[token], vocabulary.x - 1u);
    let out = token * FIELDS;
    scores[out] = lse.x - a[row];
    scores[out + 1u] = lse.y - b[row];
    scores[out + 2u] = kl;
    scores[out + 3u] = agree;
    scores[out + 4u] = top.z;
    scores[out + 5u] = top.w;
  }
}
