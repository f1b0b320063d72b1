// Attention with queries on the lanes of a subgroup, keys and values broadcast: lane l holds positions l and 8 + l of sixteen, so that what all queries read is loaded
// once a subgroup. Wins where a load costs more than an exchange between lanes. Any subgroup of 8 lanes or more. The softmax is online, sixteen positions at a
// time: what was summed is rescaled when a score raises the maximum.
// #include "attention_queries.wgsl"
const POSITIONS = 16u;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let shared_by = params.heads / params.kv_heads;
  let kv_head = workgroup_id.x;
  let first_index = workgroup_id.y * THREADS;
  let index = first_index + thread;
  let last_token = params.tokens - 1u;
  let token = min(index / shared_by, last_token);
  let count = min(eights(), QUADS / 2u);
  let start = (token * params.heads + kv_head * shared_by + index % shared_by) * params.head_dim;
  let seen = seen_by(token);
  // Of all threads: tokens see later positions the later they are.
  let first = seen_by(min(first_index / shared_by, last_token)).first;
  let end = seen_by(min((first_index + THREADS - 1u) / shared_by, last_token)).end;
  let held = lane & 7u;
  for (var i = 0u; i < 2u * count; i++) { sums[i * THREADS + thread] = vec4<f32>(0.0); }
  var total = 0.0;
  var largest = -LARGEST;
  for (var position = first; position < end; position += POSITIONS) {
    let row0 = min(position + held, end - 1u) * params.kv_heads + kv_head;
    let row1 = min(position + 8u + held, end - 1u) * params.kv_heads + kv_head;
    // #repeat v 4
    var products$v = vec4<f32>(0.0);
    // #end
    for (var i = 0u; i < count; i++) {
      let low = query4(start, 8u * i);
      let high = query4(start, 8u * i + 4u);
      let key0 = cached0(row0, i);
      let key1 = cached0(row1, i);
      // #repeat p 4
      products0[$p] += dot(low, subgroupBroadcast(key0.low, $pu)) + dot(high, subgroupBroadcast(key0.high, $pu));
      products1[$p] += dot(low, subgroupBroadcast(key0.low, $pu + 4u)) + dot(high, subgroupBroadcast(key0.high, $pu + 4u));
      products2[$p] += dot(low, subgroupBroadcast(key1.low, $pu)) + dot(high, subgroupBroadcast(key1.high, $pu));
      products3[$p] += dot(low, subgroupBroadcast(key1.low, $pu + 4u)) + dot(high, subgroupBroadcast(key1.high, $pu + 4u));
      // #end
    }
    var highest = largest;
    // #repeat v 4
    let positions$v = vec4<u32>(position + 4u * $vu) + vec4<u32>(0u, 1u, 2u, 3u);
    let visible$v = (positions$v >= vec4<u32>(seen.first)) & (positions$v < vec4<u32>(seen.end));
    let scores$v = select(vec4<f32>(-LARGEST), score4(products$v), visible$v);
    highest = max(highest, max(max(scores$v.x, scores$v.y), max(scores$v.z, scores$v.w)));
    // #end
    let shrink = exp_negative(largest - highest);
    largest = highest;
    total *= shrink;
    // #repeat v 4
    let weights$v = select(vec4<f32>(0.0), exp_negative4(scores$v - highest), visible$v);
    total += dot(weights$v, vec4<f32>(1.0));
    // #end
    for (var i = 0u; i < count; i++) {
      let at = 2u * i * THREADS + thread;
      let value0 = cached1(row0, i);
      let value1 = cached1(row1, i);
      var low = sums[at] * shrink;
      var high = sums[at + THREADS] * shrink;
      // #repeat p 4
      low += weights0[$p] * subgroupBroadcast(value0.low, $pu) + weights1[$p] * subgroupBroadcast(value0.low, $pu + 4u);
      high += weights0[$p] * subgroupBroadcast(value0.high, $pu) + weights1[$p] * subgroupBroadcast(value0.high, $pu + 4u);
      low += weights2[$p] * subgroupBroadcast(value1.low, $pu) + weights3[$p] * subgroupBroadcast(value1.low, $pu + 4u);
      high += weights2[$p] * subgroupBroadcast(value1.high, $pu) + weights3[$p] * subgroupBroadcast(value1.high, $pu + 4u);
      // #end
      sums[at] = low;
      sums[at + THREADS] = high;
    }
  }
  if (index / shared_by < params.tokens) { finish(start, thread, total); }
}
