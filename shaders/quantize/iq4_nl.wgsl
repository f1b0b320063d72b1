// iq4_nl: codes of sixteen levels, an f16 scale for 32 weights.
@group(0) @binding(0) var<storage, read_write> codes: array<u32>;
@group(0) @binding(1) var<storage, read_write> scales: array<u32>;
@group(0) @binding(2) var<storage, read_write> bad: atomic<u32>;
@group(0) @binding(3) var<storage, read> importance: array<vec4<f32>>;
@group(0) @binding(4) var<uniform> params: Params;

const GROUP = 32u;

// #include "scale_pairs.wgsl"
// #include "iq4.wgsl"
// #include "pack.wgsl"

// Quantizes one block and returns the f16 bits of its scale.
fn quantize_block(index: u32) -> u32 {
  let first = GROUP * index;
  open_block(first);
  load_part(first);
  let bits = step_bits(search_signed());
  let inverse = inverse_of(f16_value(bits) * inverse_unit);
  for (var i = 0u; i < 4u; i++) {
    codes[4u * index + i] = pack_nibbles(nearest_code4(part[2u * i] * inverse), nearest_code4(part[2u * i + 1u] * inverse));
  }
  return bits;
}
