// ggml's q5_0: d = m / −16 with m the first weight of largest magnitude, code = ⌊w / d + 16.5⌋. A thread owns two blocks
// of 32, whose scales make one word; fifth bits take a word a block.
// #include "../common/grid.wgsl"
// #include "source.wgsl"
// #include "signed_step.wgsl"
// #include "pack.wgsl"
@group(0) @binding(0) var<storage, read_write> codes: array<u32>;
@group(0) @binding(1) var<storage, read_write> scales: array<u32>;
@group(0) @binding(2) var<storage, read_write> high: array<u32>;
@group(0) @binding(3) var<storage, read_write> bad: atomic<u32>;
@group(0) @binding(4) var<uniform> params: Params;

override WORKGROUP: u32 = 64;

fn codes4(i: u32, inverse: f32) -> vec4<f32> {
  return signed_codes(i, inverse, 15.0, 16.5);
}

// Quantizes one block and returns the f16 bits of its scale.
fn quantize_block(index: u32) -> u32 {
  let step = signed_step(32u * index, 4u);
  let inverse = signed_inverse(step);
  var fifths = 0u;
  for (var i = 0u; i < 4u; i++) {
    let packed = pack_fives(codes4(2u * i, inverse), codes4(2u * i + 1u, inverse));
    codes[4u * index + i] = packed.x;
    fifths |= packed.y << (i << 3u);
  }
  high[index] = fifths;
  return f16_bits(step);
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(num_workgroups) num_workgroups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let blocks = params.count / 32u;
  let index = 2u * (workgroup_index(workgroup_id, num_workgroups) * WORKGROUP + thread);
  if (index >= blocks) { return; }
  var pair = 0u;
  for (var i = 0u; i < min(2u, blocks - index); i++) { pair |= quantize_block(index + i) << (i << 4u); }
  scales[index >> 1u] = pair;
}
