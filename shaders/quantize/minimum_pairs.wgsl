// A thread owns two blocks of GROUP weights, whose f16 scales and minima, which `quantize_block` returns, make one word each of `scales` and
// `minima`.
// #include "../common/grid.wgsl"
override WORKGROUP: u32 = 64;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(num_workgroups) num_workgroups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let blocks = params.count / GROUP;
  let index = 2u * (workgroup_index(workgroup_id, num_workgroups) * WORKGROUP + thread);
  if (index >= blocks) { return; }
  var pair = vec2<u32>(0u);
  for (var i = 0u; i < min(2u, blocks - index); i++) { pair |= quantize_block(index + i) << vec2<u32>(i << 4u); }
  scales[index >> 1u] = pair.x;
  minima[index >> 1u] = pair.y;
}
