// A workgroup shares two rows, and subgroups add their sums. Nothing is taken for granted of which threads make a subgroup.
// #include "../common/grid.wgsl"
// #include "vector_body.wgsl"
override LANES: u32 = 64; // threads of a workgroup

// Where its first thread has its place, the sum of each subgroup; zeros elsewhere.
var<workgroup> parts: array<Pair, LANES>;

@compute @workgroup_size(LANES)
fn main(
  @builtin(local_invocation_index) thread: u32,
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(num_workgroups) num_workgroups: vec3<u32>,
  @builtin(subgroup_invocation_id) place: u32,
  @builtin(subgroup_size) size: u32,
) {
  let row = workgroup_index(workgroup_id, num_workgroups) * 2u;
  let own = sums_of_pair(thread, row);
  let mine = Pair(subgroupAdd(own.even), subgroupAdd(own.odd));
  let first = subgroupMin(thread);
  if (thread == first) { parts[first] = mine; }
  workgroupBarrier();
  var rest = Pair();
  for (var i = place; i < LANES; i += size) { rest = plus(rest, parts[i]); }
  let sums = Pair(subgroupAdd(rest.even), subgroupAdd(rest.odd));
  if (thread == 0u) { store_pair(row, sums); }
}
