// Half-quadratic quantization of integer groups (src/formats/integer-hqq.ts): the zero point is moved to lower the sum of |residual|^0.7, in
// rounds of codes, shrunk residuals and means. All is in steps of the group.
override FARTHEST: f32 = f32(4u << BITS);

const EXPONENT = 0.7;
const FIRST_INVERSE_BETA = 1.0 / 10.0;
const INVERSE_GROWTH = 1.0 / 1.01;
const ROUNDS = 20u;
// Smaller residuals are rounding, in which devices differ.
const NEGLIGIBLE = 0x1p-16;
// A round has to be better by this factor.
const CLEARLY = 1.0 - 0x1p-14;

fn sum4(v: vec4<f32>) -> f32 {
  return (v.x + v.y) + (v.z + v.w);
}

// Rounded to sixteen bits.
fn coarse(x: f32) -> u32 {
  return (bitcast<u32>(x) + 0x80u) & 0xffffff00u;
}

// Puts a better zero point, where there is one, in place of `zero`.
fn choose(first: u32) {
  let bounds = extremes(first, GROUP);
  // From 2^100 on scales leave the range in which devices agree.
  if (stored == 0u || max(bounds.x, bounds.y) >= 0x71800000) { return; }
  let step_inverse = divide(1.0, float_value(stored));
  var trial = zero;
  var least = 0.0;
  var before = 0.0;
  var inverse_beta = FIRST_INVERSE_BETA;
  for (var t = 0u; t < end_of(0u, ROUNDS); t++) {
    var errors = vec4<f32>(0.0);
    var magnitudes = vec4<f32>(0.0);
    var zeros4 = vec4<f32>(0.0);
    for (var at = first; at < end_of(first, GROUP); at += 4u) {
      let x = clamp(load4_aligned(0u, at) * step_inverse, vec4<f32>(-0x1p20), vec4<f32>(0x1p20));
      let code = clamp(round(x + trial), vec4<f32>(0.0), vec4<f32>(LEVELS));
      let residual = x - (code - trial);
      let size = abs(residual);
      let power = pow(max(size, vec4<f32>(NEGLIGIBLE)), vec4<f32>(EXPONENT - 1.0));
      let rest = max(size - power * inverse_beta, vec4<f32>(0.0));
      errors += select(size * power, vec4<f32>(0.0), size < vec4<f32>(NEGLIGIBLE));
      magnitudes += size;
      zeros4 += code - (x - sign(residual) * rest);
    }
    let error = sum4(errors);
    if (t == 0u || error < least * CLEARLY) {
      least = error;
      zero = trial;
    }
    let magnitude = sum4(magnitudes);
    if (t > 0u && !(magnitude < before)) { break; }
    before = magnitude;
    let mean = sum4(zeros4) / f32(GROUP);
    if (abs(mean) > FARTHEST) { break; }
    trial = float_value(float_bits(coarse(mean)));
    inverse_beta *= INVERSE_GROWTH;
  }
}
