// ggml's q4_1: m = min w, d = (max w − m) / 15, code = ⌊(w − m) / d + ½⌋. A thread owns two blocks of 32, whose scales
// and minima make a word each.
// #include "../common/grid.wgsl"
// #include "source.wgsl"
// #include "range.wgsl"
// #include "pack.wgsl"
@group(0) @binding(0) var<storage, read_write> codes: array<u32>;
@group(0) @binding(1) var<storage, read_write> scales: array<u32>;
@group(0) @binding(2) var<storage, read_write> minima: array<u32>;
@group(0) @binding(3) var<storage, read_write> bad: atomic<u32>;
@group(0) @binding(4) var<uniform> params: Params;

override WORKGROUP: u32 = 64;

// Quantizes one block and returns the f16 bits of its scale and of its minimum.
fn quantize_block(block: u32) -> vec2<u32> {
  let first = block * 32u;
  let range = block_range(first, 0x41700000u); // 15
  let minimum = bitcast<f32>(range.minimum);
  let inverse = inverse_step(range.step, SMALLEST_STEP_ABOVE_MINIMUM);
  for (var i = 0u; i < 4u; i++) {
    let at = first + 8u * i;
    codes[4u * block + i] = pack_nibbles(
      codes_above(at, minimum, inverse, 15.0),
      codes_above(at + 4u, minimum, inverse, 15.0),
    );
  }
  return vec2<u32>(f16_bits(range.step), f16_bits(range.minimum));
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
  var pair = vec2<u32>(0u);
  for (var i = 0u; i < min(2u, blocks - block); i++) { pair |= quantize_block(block + i) << vec2<u32>(i << 4u); }
  scales[block >> 1u] = pair.x;
  minima[block >> 1u] = pair.y;
}
