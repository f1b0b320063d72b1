// The largest |w|, Σ w² and the number of zeros of a tensor, as parts that the host adds up: a workgroup writes one.
struct Params { count: u32 }

@group(0) @binding(0) var<storage, read> weights: array<f32>; // [count]
@group(0) @binding(1) var<storage, read_write> parts: array<vec4f>; // [workgroups]: largest, squares, zeros
@group(0) @binding(2) var<uniform> params: Params;

var<workgroup> near: array<vec4f, 256>;

@compute @workgroup_size(256)
fn main(
  @builtin(local_invocation_index) thread: u32,
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  var sum = vec4f();
  for (var at = group.x * 256u + thread; at < params.count; at += groups.x * 256u) {
    let w = weights[at];
    sum = vec4f(max(sum.x, abs(w)), sum.y + w * w, sum.z + f32(w == 0.0), 0.0);
  }
  near[thread] = sum;
  for (var half = 128u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (thread < half) {
      let other = near[thread + half];
      near[thread] = vec4f(max(near[thread].x, other.x), near[thread].y + other.y, near[thread].z + other.z, 0.0);
    }
  }
  if (thread == 0u) { parts[group.x] = near[0]; }
}
