// A few right-hand sides (1 to 4 a dispatch row): LANES threads share a weight row, each takes every LANES-th vec4 of it, and a tree
// adds their sums. LANES = 1 gives a row to each thread, which wins on CPUs; 32 and more coalesce loads on GPUs.
// #include "../common/grid.wgsl"
override LANES: u32 = 32;
const THREADS = 64u;

var<workgroup> sums: array<vec4<f32>, THREADS>;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(local_invocation_index) thread: u32,
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(num_workgroups) num_workgroups: vec3<u32>,
) {
  let group = workgroup_index(vec3(workgroup_id.xy, 0u), num_workgroups);
  let first_token = workgroup_id.z * 4u;
  let lane = thread % LANES;
  let row = group * (THREADS / LANES) + thread / LANES;
  let safe_row = min(row, params.rows - 1u);
  let last_token = params.tokens - 1u;
  let t0 = min(first_token, last_token);
  let t1 = min(first_token + 1u, last_token);
  let t2 = min(first_token + 2u, last_token);
  let t3 = min(first_token + 3u, last_token);
  var a0 = vec4<f32>(0.0);
  var a1 = vec4<f32>(0.0);
  var a2 = vec4<f32>(0.0);
  var a3 = vec4<f32>(0.0);
  if (params.tokens == 1u) {
    for (var k = lane * 4u; k < params.k; k += LANES * 4u) {
      a0 += w4(safe_row, k) * x4(t0, k);
    }
  } else {
    for (var k = lane * 4u; k < params.k; k += LANES * 4u) {
      let w = w4(safe_row, k);
      a0 += w * x4(t0, k);
      a1 += w * x4(t1, k);
      a2 += w * x4(t2, k);
      a3 += w * x4(t3, k);
    }
  }
  let one = vec4<f32>(1.0);
  var sum = vec4<f32>(dot(a0, one), dot(a1, one), dot(a2, one), dot(a3, one));
  if (LANES > 1u) {
    sums[thread] = sum;
    workgroupBarrier();
    for (var width = LANES / 2u; width > 0u; width /= 2u) {
      if (lane < width) {
        sums[thread] += sums[thread + width];
      }
      workgroupBarrier();
    }
    sum = sums[thread];
  }
  if (lane == 0u) {
    for (var i = 0u; i < 4u; i++) {
      store(first_token + i, row, sum[i]);
    }
  }
}
