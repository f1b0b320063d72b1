// Super-blocks with a minimum, w = d · scale · code − dmin · minimum (src/formats/k-quants.ts). A thread owns one. The type defines
//   SUB, LEVELS, MOST                                          weights of a sub-block, largest code, largest multiple
//   fn clear(index: u32)                                       zeroes what the two others add bits to
//   fn write_scale(index: u32, j: u32, scale: u32, minimum: u32)
//   fn write_codes(index: u32, j: u32, i: u32, codes: u32)     four codes, a byte each: 4i .. 4i + 3 of sub-block j
// #include "../common/each.wgsl"
const GROUP = 256u;
// #include "k_block.wgsl"

const ANY_MINIMUM = false;
const THOROUGH = false;
// #include "search_affine.wgsl"

// Scale and minimum of each sub-block.
var<private> found: array<vec2<f32>, 16>;

fn round_part(scale: f32, offset: f32) {
  let inverse = inverse_of(scale);
  for (var i = 0u; i < VECTORS; i++) {
    trial[i] = clamp(round((part[i] + offset) * inverse), vec4<f32>(0.0), vec4<f32>(LEVELS));
  }
}

fn each(index: u32) {
  if (index >= params.count / GROUP) { return; }
  let first = GROUP * index;
  open_block(first);
  clear(index);
  let parts = end_of(0u, GROUP / SUB);
  var largest = vec2<f32>(0.0);
  for (var j = 0u; j < parts; j++) {
    load_part(first + SUB * j);
    found[j] = search_affine();
    largest = max(largest, found[j]);
  }
  let d_bits = step_bits(divide(largest.x, MOST));
  let dmin_bits = step_bits(divide(largest.y, MOST));
  steps[index] = d_bits | (dmin_bits << 16u);
  let d = f16_value(d_bits) * inverse_unit;
  let dmin = f16_value(dmin_bits) * inverse_unit;
  for (var j = 0u; j < parts; j++) {
    load_part(first + SUB * j);
    let scale = multiple(found[j].x, d, 0.0, MOST);
    let minimum = multiple(found[j].y, dmin, 0.0, MOST);
    var best = vec2<f32>(scale, minimum);
    var least = 0x1p+120;
    // The rounded scale and minimum first, then their neighbours.
    for (var c = 4u; c < end_of(4u, 9u); c++) {
      let moved = vec2<f32>(scale, minimum) + vec2<f32>(vec2<i32>(i32((c % 9u) / 3u), i32(c % 3u)) - 1);
      let pair = clamp(moved, vec2<f32>(0.0), vec2<f32>(MOST));
      let unit_scale = d * pair.x;
      let offset = dmin * pair.y;
      round_part(unit_scale, offset);
      var errors = vec4<f32>(0.0);
      for (var i = 0u; i < VECTORS; i++) {
        let difference = unit_scale * trial[i] - offset - part[i];
        errors += weigh(difference * difference, i);
      }
      let error = sum4(errors);
      if (error < least * CLEARLY) {
        least = error;
        best = pair;
      }
    }
    round_part(d * best.x, dmin * best.y);
    write_scale(index, j, u32(i32(best.x)), u32(i32(best.y)));
    for (var i = 0u; i < VECTORS; i++) { write_codes(index, j, i, bytes4(trial[i])); }
  }
}
