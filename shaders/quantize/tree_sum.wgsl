// The sum of a number of each of 256 threads, halves together; barriers keep its order.
var<workgroup> sums: array<f32, 256>;

fn tree_sum(value: f32, thread: u32) -> f32 {
  sums[thread] = value;
  workgroupBarrier();
  for (var width = 128u; width > 0u; width /= 2u) {
    if (thread < width) { sums[thread] += sums[thread + width]; }
    workgroupBarrier();
  }
  return sums[0];
}
