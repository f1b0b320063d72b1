// A matrix and a product of two added up, for one right-hand side: y = W x + left (right x), with right x at hand. LANES threads share two rows, as in vector_tree.wgsl, and the few columns of
// left. W may be up to three matrices of one input, one behind the other; each has its own `inner`, and their rows of left are behind each other, too.
// #include "rows.wgsl"
// #include "../common/grid.wgsl"
// #include "../common/float16.wgsl"
// #include "pair_tree.wgsl"
override RANK: u32 = 32;
override FIRST: u32 = 0; // rows before those of the second matrix
override SECOND: u32 = 0; // and before those of the third

@group(0) @binding(1) var<storage, read> inner: array<f32>; // RANK for each matrix
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<storage, read> left: array<u32>; // f16 [rows, RANK]
@group(0) @binding(4) var<uniform> params: LinearParams;

fn biased(_row: u32, sum: f32) -> f32 {
  return sum;
}

// What one of the threads that share a row has of left (right x).
fn of_factors(lane: u32, kernel_row: u32) -> f32 {
  let row = stored_row(min(kernel_row, params.rows - 1u));
  let section = select(0u, 1u, row >= FIRST) + select(0u, 1u, row >= SECOND);
  var sum = 0.0;
  for (var i = lane; i < RANK; i += LANES) {
    let at = row * RANK + i;
    sum += f16_value((left[at >> 1u] >> (16u * (at & 1u))) & 0xffffu) * inner[section * RANK + i];
  }
  return sum;
}

@compute @workgroup_size(THREADS)
fn main(
  @builtin(local_invocation_index) thread: u32,
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(num_workgroups) num_workgroups: vec3<u32>,
) {
  let group = workgroup_index(workgroup_id, num_workgroups);
  let lane = thread % LANES;
  let row = (group * (THREADS / LANES) + thread / LANES) * 2u;
  var sums = sums_of_pair(lane, row);
  sums.even[0] += of_factors(lane, row);
  sums.odd[0] += of_factors(lane, row + 1u);
  sums = added_up(thread, lane, sums);
  if (lane == 0u) { store_pair(row, sums); }
}
