// Blocks of 32 weights without a minimum by the method `search`: of the step of the rule and that of the search, each as stored, the one
// whose nearest levels leave clearly the least error (searchBlock in src/formats/ggml.ts). The type defines
//   LOWEST, HIGHEST, END                                       its levels, and that of the largest weight
//   fn searched_step() -> f32                                  the step that the search finds
//   fn write_levels(index: u32)                                stores the levels in `trial`
const GROUP = 32u;
const SUB = 32u;
const THOROUGH = true;
// #include "k_block.wgsl"
// #include "tenths.wgsl"
// #include "search_signed.wgsl"

fn nearest4(x: vec4<f32>) -> vec4<f32> {
  return clamp(round(x), vec4<f32>(LOWEST), vec4<f32>(HIGHEST));
}

// Levels under a step become those at hand; returns their error.
fn round_part(step: f32) -> f32 {
  let inverse = inverse_of(step);
  var errors = vec4<f32>(0.0);
  for (var i = 0u; i < VECTORS; i++) {
    trial[i] = nearest4(part[i] * inverse);
    let difference = step * trial[i] - part[i];
    errors += weigh(difference * difference, i);
  }
  return sum4(errors);
}

// Quantizes one block and returns the f16 bits of its scale.
fn quantize_block(index: u32) -> u32 {
  open_block(GROUP * index);
  load_part(GROUP * index);
  let rule = step_bits(select(divide(extreme(), END), divide(abs(extreme()), END), END > 0.0));
  let found = step_bits(searched_step());
  let clearly_less = round_part(f16_value(found) * inverse_unit) < round_part(f16_value(rule) * inverse_unit) * CLEARLY;
  let bits = select(rule, found, clearly_less);
  round_part(f16_value(bits) * inverse_unit);
  write_levels(index);
  return bits;
}
