// First step of double quantization: sums of blocks, divided by a power of two so that no sum of them overflows. A workgroup owns a block.
// #include "nested.wgsl"
// #include "tree_sum.wgsl"
@group(0) @binding(0) var<storage, read> scales: array<f32>;
@group(0) @binding(1) var<storage, read_write> nested: array<Nested>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(num_workgroups) num_workgroups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = workgroup_index(workgroup_id, num_workgroups);
  let group = NESTED * index + thread;
  var bits = 0u;
  if (group < params.groups) {
    bits = bounded_bits(scales[group]);
    // What would leave the normal range counts as zero.
    bits = select(bits - (params.shift << 23u), 0u, bits < SMALLEST_NORMAL + (params.shift << 23u));
  }
  let sum = tree_sum(bitcast<f32>(bits), thread);
  if (thread == 0u && NESTED * index < params.groups) { nested[index].first = sum; }
}
