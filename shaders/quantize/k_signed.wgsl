// Super-blocks without a minimum, w = d · scale · code (src/formats/k-quants.ts). A thread owns two, whose steps make a word. The type
// defines
//   HALF, REACH                                                codes are −HALF .. HALF − 1, multiples of d −REACH .. REACH − 1
//   fn clear(index: u32)                                       zeroes what the two others add bits to
//   fn write_scale(index: u32, j: u32, scale: u32)             scale + REACH
//   fn write_codes(index: u32, j: u32, i: u32, codes: u32)     code + HALF in a byte each: 4i .. 4i + 3 of sub-block j
// #include "scale_pairs.wgsl"
const GROUP = 256u;
const SUB = 16u;
// #include "k_block.wgsl"

const THOROUGH = false;
const END = -HALF;
// #include "tenths.wgsl"
// #include "search_signed.wgsl"

var<private> found: array<f32, 16>;

fn nearest4(v: vec4<f32>) -> vec4<f32> {
  return clamp(round(v), vec4<f32>(-HALF), vec4<f32>(HALF - 1.0));
}

fn round_part(scale: f32) {
  let inverse = inverse_of(scale);
  for (var i = 0u; i < VECTORS; i++) { trial[i] = nearest4(part[i] * inverse); }
}

// Quantizes one super-block and returns the f16 bits of its step.
fn quantize_block(index: u32) -> u32 {
  let first = GROUP * index;
  open_block(first);
  clear(index);
  let parts = end_of(0u, 16u);
  var largest = 0.0;
  for (var j = 0u; j < parts; j++) {
    load_part(first + SUB * j);
    found[j] = search_signed();
    largest = select(largest, found[j], abs(found[j]) > abs(largest));
  }
  let bits = step_bits(divide(largest, -REACH));
  let d = f16_value(bits) * inverse_unit;
  for (var j = 0u; j < parts; j++) {
    load_part(first + SUB * j);
    let middle = multiple(found[j], d, -REACH, REACH - 1.0);
    var best = middle;
    var least = 0x1p+120;
    // The rounded scale first, then the one above and the one below.
    for (var c = 0u; c < end_of(0u, 3u); c++) {
      let scale = clamp(middle + select(f32(i32(c)), -1.0, c == 2u), -REACH, REACH - 1.0);
      let unit_scale = d * scale;
      round_part(unit_scale);
      var errors = vec4<f32>(0.0);
      for (var i = 0u; i < VECTORS; i++) {
        let difference = unit_scale * trial[i] - part[i];
        errors += weigh(difference * difference, i);
      }
      let error = sum4(errors);
      if (error < least * CLEARLY) {
        least = error;
        best = scale;
      }
    }
    round_part(d * best);
    write_scale(index, j, u32(i32(best + REACH)));
    for (var i = 0u; i < VECTORS; i++) { write_codes(index, j, i, bytes4(trial[i] + HALF)); }
  }
  return bits;
}
