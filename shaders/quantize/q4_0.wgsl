// ggml's q4_0: d = m / −8 with m the first weight of largest magnitude, code = ⌊w / d + 8.5⌋. A thread owns two blocks
// of 32, whose scales make one word.
// #include "../common/grid.wgsl"
// #include "source.wgsl"
// #include "extremes.wgsl"
// #include "pack.wgsl"
// #include "ggml_step.wgsl"
@group(0) @binding(0) var<storage, read_write> codes: array<u32>;
@group(0) @binding(1) var<storage, read_write> scales: array<u32>;
@group(0) @binding(2) var<storage, read_write> bad: atomic<u32>;
@group(0) @binding(3) var<uniform> params: Params;

override WORKGROUP: u32 = 64;

// Code of each weight. The clamp leaves every code as it is (from 7 on it is 15 already) and keeps the product and
// the sum two operations: fused into one they round differently.
fn codes4(w: vec4<f32>, inverse: f32) -> vec4<f32> {
  return floor(clamp(w * inverse, vec4<f32>(-8.5), vec4<f32>(7.0)) + vec4<f32>(8.5));
}

fn codes8(at: u32, inverse: f32) -> u32 {
  return pack_nibbles(codes4(load4_aligned(0u, at), inverse), codes4(load4_aligned(0u, at + 4u), inverse));
}

// Quantizes one block and returns the f16 bits of its scale.
fn quantize_block(block: u32) -> u32 {
  let first = block * 32u;
  let bounds = extremes(first, 32u);
  let magnitude = u32(max(bounds.x, bounds.y));
  if (magnitude >= INFINITY) { report(first, 32u); }
  // Division by 8 takes 3 from the exponent; below 2^-123 the step counts as zero.
  let step = select(saturated_step(magnitude - 0x01800000u), 0u, magnitude < 0x02000000u);
  let sign = select(0x80000000u, 0u, extreme_is_negative(first, 32u, bounds));
  let inverse = bitcast<f32>(bitcast<u32>(inverse_step(step, SMALLEST_STEP)) | sign);
  for (var i = 0u; i < 4u; i++) { codes[4u * block + i] = codes8(first + 8u * i, inverse); }
  return f16_bits(step | sign);
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(num_workgroups) num_workgroups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let blocks = params.count / 32u;
  let block = 2u * (workgroup_index(workgroup_id, num_workgroups) * WORKGROUP + thread);
  if (block >= blocks) { return; }
  var pair = 0u;
  for (var i = 0u; i < min(2u, blocks - block); i++) { pair |= quantize_block(block + i) << (i << 4u); }
  scales[block >> 1u] = pair;
}
