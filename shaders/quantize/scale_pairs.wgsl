// A thread owns two blocks of GROUP weights, whose f16 scales, which `quantize_block` returns, make one word of `scales`.
// #include "../common/each.wgsl"

fn each(thread: u32) {
  let blocks = params.count / GROUP;
  let index = 2u * thread;
  if (index >= blocks) { return; }
  var pair = 0u;
  for (var i = 0u; i < min(2u, blocks - index); i++) { pair |= quantize_block(index + i) << (i << 4u); }
  scales[index >> 1u] = pair;
}
