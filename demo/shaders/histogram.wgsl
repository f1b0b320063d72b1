// How many weights are zero, and how many lie in each of BINS ranges from -limit to limit, before and after. A workgroup counts in its own memory first.
const BINS = 128u;
struct Params { count: u32, limit: f32 }

@group(0) @binding(0) var<storage, read> before: array<f32>; // [count]
@group(0) @binding(1) var<storage, read> after: array<f32>;  // [count]
@group(0) @binding(2) var<storage, read_write> counts: array<atomic<u32>>; // [2 + 2 BINS], zero before
@group(0) @binding(3) var<uniform> params: Params;

var<workgroup> near: array<atomic<u32>, 258>;

fn bin(x: f32) -> u32 {
  return u32(clamp((x / params.limit + 1.0) * 0.5 * f32(BINS), 0.0, f32(BINS) - 1.0));
}

@compute @workgroup_size(256)
fn main(
  @builtin(local_invocation_index) thread: u32,
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  for (var i = thread; i < 2u + 2u * BINS; i += 256u) { atomicStore(&near[i], 0u); }
  workgroupBarrier();
  for (var at = group.x * 256u + thread; at < params.count; at += groups.x * 256u) {
    let a = before[at];
    let b = after[at];
    atomicAdd(&near[2u + bin(a)], 1u);
    atomicAdd(&near[2u + BINS + bin(b)], 1u);
    if (a == 0.0) { atomicAdd(&near[0], 1u); }
    if (b == 0.0) { atomicAdd(&near[1], 1u); }
  }
  workgroupBarrier();
  for (var i = thread; i < 2u + 2u * BINS; i += 256u) {
    let many = atomicLoad(&near[i]);
    if (many > 0u) { atomicAdd(&counts[i], many); }
  }
}
