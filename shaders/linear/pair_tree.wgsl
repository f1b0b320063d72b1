// The sums of LANES threads that share two rows, added by a tree; the first of them has the whole. All threads of a workgroup come here.
// #include "vector_body.wgsl"
override LANES: u32 = 32;
const THREADS = 64u;

var<workgroup> parts: array<Pair, THREADS>;

fn added_up(thread: u32, lane: u32, sums: Pair) -> Pair {
  if (LANES == 1u) { return sums; }
  parts[thread] = sums;
  workgroupBarrier();
  for (var width = LANES / 2u; width > 0u; width /= 2u) {
    if (lane < width) { parts[thread] = plus(parts[thread], parts[thread + width]); }
    workgroupBarrier();
  }
  return parts[thread];
}
