// Blocks of 32 weights with a minimum by the method `search`: of the step and minimum of the rule and those of the search, each as stored,
// the ones whose nearest codes leave clearly the least error (searchBlock in src/formats/ggml.ts). The type defines
//   LEVELS                                                     the largest code
//   fn write_levels(index: u32)                                stores the codes in `trial`
const GROUP = 32u;
const SUB = 32u;
const ANY_MINIMUM = true;
const THOROUGH = true;
// #include "k_block.wgsl"
// #include "search_affine.wgsl"

// Codes under a step and a minimum become those at hand; returns their error.
fn round_part(affine: vec2<f32>) -> f32 {
  let inverse = inverse_of(affine.x);
  var errors = vec4<f32>(0.0);
  for (var i = 0u; i < VECTORS; i++) {
    trial[i] = clamp(round((part[i] - affine.y) * inverse), vec4<f32>(0.0), vec4<f32>(LEVELS));
    let difference = affine.x * trial[i] + affine.y - part[i];
    errors += weigh(difference * difference, i);
  }
  return sum4(errors);
}

// Step and minimum of the rule.
fn rule_affine() -> vec2<f32> {
  var lows = part[0];
  var highs = part[0];
  for (var i = 1u; i < VECTORS; i++) {
    lows = min(lows, part[i]);
    highs = max(highs, part[i]);
  }
  let low = least4(lows);
  return vec2<f32>(divide(most4(highs) - low, LEVELS), low);
}

// Their f16 bits, and what these stand for.
fn affine_bits(affine: vec2<f32>) -> vec2<u32> {
  return vec2<u32>(step_bits(affine.x), step_bits(affine.y));
}
fn affine_value(bits: vec2<u32>) -> vec2<f32> {
  return vec2<f32>(f16_value(bits.x), f16_value(bits.y)) * inverse_unit;
}

// Quantizes one block and returns the f16 bits of its scale and of its minimum.
fn quantize_block(index: u32) -> vec2<u32> {
  open_block(GROUP * index);
  load_part(GROUP * index);
  let rule = affine_bits(rule_affine());
  let searched = search_affine();
  let found = affine_bits(vec2<f32>(searched.x, -searched.y));
  let clearly_less = round_part(affine_value(found)) < round_part(affine_value(rule)) * CLEARLY;
  let bits = select(rule, found, clearly_less);
  round_part(affine_value(bits));
  write_levels(index);
  return bits;
}
