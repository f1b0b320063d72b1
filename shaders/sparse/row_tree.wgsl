// The sums of LANES threads that share a row, for up to four tokens, added by a tree; the first of them has the whole. All threads of a workgroup come here.
override LANES: u32 = 32;
const THREADS = 64u;

var<workgroup> parts: array<vec4<f32>, THREADS>;

fn added_up(thread: u32, lane: u32, sums: vec4<f32>) -> vec4<f32> {
  if (LANES == 1u) { return sums; }
  parts[thread] = sums;
  workgroupBarrier();
  for (var width = LANES / 2u; width > 0u; width /= 2u) {
    if (lane < width) { parts[thread] += parts[thread + width]; }
    workgroupBarrier();
  }
  return parts[thread];
}
