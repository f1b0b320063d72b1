// Attention with a thread for each query: no barriers, which suits devices that run a workgroup's threads one after another. The softmax is online, four
// positions at a time: what was summed is rescaled when a score raises the maximum.
// #include "attention_queries.wgsl"
@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) workgroup_id: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let shared_by = params.heads / params.kv_heads;
  let kv_head = workgroup_id.x;
  let index = workgroup_id.y * THREADS + thread;
  let token = index / shared_by;
  // The loops run to a number that has no constant bound, or some compilers unroll them for half a minute.
  let count = min(eights(), QUADS / 2u);
  if (token >= params.tokens) {
    return;
  }
  let start = (token * params.heads + kv_head * shared_by + index % shared_by) * params.head_dim;
  let seen = seen_by(token);
  for (var i = 0u; i < 2u * count; i++) { sums[i * THREADS + thread] = vec4<f32>(0.0); }
  var total = 0.0;
  var largest = -LARGEST;
  for (var position = seen.first; position < seen.end; position += 4u) {
    // Past the end, the last position stands in, with a weight of 0.
    let positions = vec4<u32>(position) + vec4<u32>(0u, 1u, 2u, 3u);
    let rows = min(positions, vec4<u32>(seen.end - 1u)) * params.kv_heads + vec4<u32>(kv_head);
    // #repeat p 4
    var part$p = vec4<f32>(0.0);
    // #end
    for (var i = 0u; i < count; i++) {
      let low = query4(start, 8u * i);
      let high = query4(start, 8u * i + 4u);
      // #repeat p 4
      let key$p = cached0(rows[$p], i);
      part$p += low * key$p.low + high * key$p.high;
      // #end
    }
    let scores = score4(vec4<f32>(1.0) * mat4x4<f32>(part0, part1, part2, part3));
    let highest = max(largest, max(max(scores.x, scores.y), max(scores.z, scores.w)));
    let shrink = exp_negative(largest - highest);
    let weights = select(vec4<f32>(0.0), exp_negative4(scores - highest), positions < vec4<u32>(seen.end));
    largest = highest;
    total = total * shrink + dot(weights, vec4<f32>(1.0));
    for (var i = 0u; i < count; i++) {
      let at = 2u * i * THREADS + thread;
      var low = sums[at] * shrink;
      var high = sums[at + THREADS] * shrink;
      // #repeat p 4
      let value$p = cached1(rows[$p], i);
      low += weights[$p] * value$p.low;
      high += weights[$p] * value$p.high;
      // #end
      sums[at] = low;
      sums[at + THREADS] = high;
    }
  }
  finish(start, thread, total);
}
