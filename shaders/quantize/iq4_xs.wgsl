// iq4_xs: codes of sixteen levels, sub-blocks of 32 with multiples of six bits, a nibble and two bits more. A thread owns two super-blocks,
// whose steps, and the two bits of each multiple, make a word.
@group(0) @binding(0) var<storage, read_write> codes: array<u32>;
@group(0) @binding(1) var<storage, read_write> scales: array<u32>;
@group(0) @binding(2) var<storage, read_write> multiples: array<u32>;
@group(0) @binding(3) var<storage, read_write> high: array<u32>;
@group(0) @binding(4) var<storage, read_write> bad: atomic<u32>;
@group(0) @binding(5) var<storage, read> importance: array<vec4<f32>>;
@group(0) @binding(6) var<uniform> params: Params;

const GROUP = 256u;
const REACH = 32.0;

// #include "scale_pairs.wgsl"
// #include "iq4.wgsl"
// #include "pack.wgsl"

var<private> found: array<f32, 8>;

// Quantizes one super-block and returns the f16 bits of its step.
fn quantize_block(index: u32) -> u32 {
  let first = GROUP * index;
  open_block(first);
  let parts = end_of(0u, 8u);
  var largest = 0.0;
  for (var j = 0u; j < parts; j++) {
    load_part(first + SUB * j);
    found[j] = search_signed();
    largest = select(largest, found[j], abs(found[j]) > abs(largest));
  }
  let bits = step_bits(divide(largest, -REACH));
  let d = f16_value(bits) * inverse_unit;
  var low_bits = 0u;
  var high_bits = 0u;
  for (var j = 0u; j < parts; j++) {
    load_part(first + SUB * j);
    let middle = multiple(found[j], d, -REACH, REACH - 1.0);
    var best = middle;
    var least = 0x1p+120;
    // The rounded multiple first, then the one above and the one below.
    for (var c = 0u; c < end_of(0u, 3u); c++) {
      let trial = clamp(middle + select(f32(i32(c)), -1.0, c == 2u), -REACH, REACH - 1.0);
      let scale = d * trial;
      let inverse = inverse_of(scale);
      var errors = vec4<f32>(0.0);
      for (var i = 0u; i < VECTORS; i++) {
        let difference = scale * nearest4(part[i] * inverse) - part[i];
        errors += weigh(difference * difference, i);
      }
      let error = sum4(errors);
      if (error < least * CLEARLY) {
        least = error;
        best = trial;
      }
    }
    let inverse = inverse_of(d * best);
    for (var i = 0u; i < 4u; i++) {
      codes[32u * index + 4u * j + i] =
        pack_nibbles(nearest_code4(part[2u * i] * inverse), nearest_code4(part[2u * i + 1u] * inverse));
    }
    let code = u32(i32(best + REACH));
    low_bits |= (code & 15u) << (4u * j);
    high_bits |= (code >> 4u) << (2u * j);
  }
  multiples[index] = low_bits;
  let place = 16u * (index & 1u);
  high[index >> 1u] = select(high[index >> 1u], 0u, place == 0u) | (high_bits << place);
  return bits;
}
