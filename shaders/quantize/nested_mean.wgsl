// Second step of double quantization: the mean of all scales, from the sums of blocks, for each block. One workgroup.
// #include "nested.wgsl"
// #include "tree_sum.wgsl"
// #include "../common/divide.wgsl"
@group(0) @binding(0) var<storage, read_write> nested: array<Nested>;
@group(0) @binding(1) var<uniform> params: Params;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) thread: u32) {
  let blocks = (params.groups + NESTED - 1u) / NESTED;
  var own = 0.0;
  for (var block = thread; block < blocks; block += 256u) { own += nested[block].first; }
  let mean = divide(tree_sum(own, thread), params.share);
  for (var block = thread; block < blocks; block += 256u) { nested[block].mean = mean; }
}
