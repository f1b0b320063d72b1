// ggml's q5_0: d = m / −16 with m the first weight of largest magnitude, code = ⌊w / d + 16.5⌋. A thread owns two blocks
// of 32, whose scales make one word; fifth bits take a word a block.
// #include "../common/grid.wgsl"
// #include "source.wgsl"
// #include "extremes.wgsl"
// #include "pack.wgsl"
// #include "ggml_step.wgsl"
@group(0) @binding(0) var<storage, read_write> codes: array<u32>;
@group(0) @binding(1) var<storage, read_write> scales: array<u32>;
@group(0) @binding(2) var<storage, read_write> high: array<u32>;
@group(0) @binding(3) var<storage, read_write> bad: atomic<u32>;
@group(0) @binding(4) var<uniform> params: Params;

override WORKGROUP: u32 = 64;

// Code of each weight. The clamp leaves every code as it is (from 15 on it is 31 already) and keeps the product and
// the sum two operations: fused into one they round differently.
fn codes4(at: u32, inverse: f32) -> vec4<f32> {
  return floor(clamp(load4_aligned(0u, at) * inverse, vec4<f32>(-16.5), vec4<f32>(15.0)) + vec4<f32>(16.5));
}

// Quantizes one block and returns the f16 bits of its scale.
fn quantize_block(block: u32) -> u32 {
  let first = block * 32u;
  let bounds = extremes(first, 32u);
  let magnitude = u32(max(bounds.x, bounds.y));
  if (magnitude >= INFINITY) { report(first, 32u); }
  // Division by 16 takes 4 from the exponent; below 2^-122 the step counts as zero.
  let step = select(saturated_step(magnitude - 0x02000000u), 0u, magnitude < 0x02800000u);
  let sign = select(0x80000000u, 0u, extreme_is_negative(first, 32u, bounds));
  let inverse = bitcast<f32>(bitcast<u32>(inverse_step(step, SMALLEST_STEP)) | sign);
  var fifths = 0u;
  for (var i = 0u; i < 4u; i++) {
    let packed = pack_fives(codes4(first + 8u * i, inverse), codes4(first + 8u * i + 4u, inverse));
    codes[4u * block + i] = packed.x;
    fifths |= packed.y << (i << 3u);
  }
  high[block] = fifths;
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
