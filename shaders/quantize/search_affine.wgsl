// The search for scale and minimum of the sub-block at hand (searchAffine in src/formats/scale-search.ts). The kernel defines
//   LEVELS                                                     the largest code
//   ANY_MINIMUM                                                the minimum may lie above zero
//   THOROUGH                                                   as with gains, where there are none

// Trial scales, and the part of a code by which their ranges differ.
const TRIALS = 21u;
const STEP = 0.1;
// Codes of weights that count are all alike where they differ by less than this.
const SMALLEST_SPREAD = 0x1p-20;

// What weights are multiplied with and what is taken from the product.
fn search_affine() -> vec2<f32> {
  let thorough = THOROUGH || weighted();
  var lows = select(vec4<f32>(0.0), part[0], ANY_MINIMUM);
  var highs = part[0];
  var totals = vec4<f32>(0.0);
  var counts = vec4<f32>(0.0);
  for (var i = 0u; i < VECTORS; i++) {
    lows = min(lows, part[i]);
    highs = max(highs, part[i]);
    totals += weigh(part[i], i);
    counts += weigh(vec4<f32>(1.0), i);
  }
  let low = least4(lows);
  let high = max(most4(highs), low);
  let range = high - low;
  if (range < SMALLEST) { return vec2<f32>(0.0, select(0.0, -low, ANY_MINIMUM)); }
  let inverse = reciprocal(range);
  let total = sum4(totals);
  let count = sum4(counts);
  let mean = divide(total, count);
  let most = max(-low, high);
  let alike = select(0.0, ALIKE * (most * most), thorough);
  var best = vec2<f32>(divide(range, LEVELS), -low);
  var least = 0x1p+120;
  for (var t = 0u; t < end_of(0u, select(TRIALS, TRIALS + ROUNDS, thorough)); t++) {
    var from_low = low;
    var factor = (LEVELS - 1.0 + STEP * f32(t)) * inverse;
    if (thorough && t >= TRIALS) {
      from_low = -best.y;
      factor = inverse_of(best.x);
    }
    var sums_l = vec4<f32>(0.0);
    var sums_l2 = vec4<f32>(0.0);
    var sums_xl = vec4<f32>(0.0);
    for (var i = 0u; i < VECTORS; i++) {
      let l = clamp(round((part[i] - from_low) * factor), vec4<f32>(0.0), vec4<f32>(LEVELS));
      trial[i] = l;
      sums_l += weigh(l, i);
      sums_l2 += weigh(l * l, i);
      sums_xl += weigh(part[i] * l, i);
    }
    let sum_l = sum4(sums_l);
    let sum_l2 = sum4(sums_l2);
    let sum_xl = sum4(sums_xl);
    var scale = 0.0;
    var offset = 0.0;
    if (weighted()) {
      // Around the means: with gains, the sums are no whole numbers whose differences are exact.
      let mean_l = divide(sum_l, count);
      var spreads = vec4<f32>(0.0);
      var commons = vec4<f32>(0.0);
      for (var i = 0u; i < VECTORS; i++) {
        let l = trial[i] - mean_l;
        spreads += weigh(l * l, i);
        commons += weigh(l * (part[i] - mean), i);
      }
      let spread = sum4(spreads);
      if (spread < SMALLEST_SPREAD) { continue; }
      scale = divide(sum4(commons), spread);
      offset = mean - scale * mean_l;
    } else {
      let n = f32(SUB);
      let determinant = n * sum_l2 - sum_l * sum_l;
      if (determinant <= 0.0) { continue; }
      scale = divide(n * sum_xl - total * sum_l, determinant);
      offset = divide(sum_l2 * total - sum_l * sum_xl, determinant);
    }
    if (offset > 0.0 && !ANY_MINIMUM) {
      offset = 0.0;
      scale = divide(sum_xl, sum_l2);
    }
    var errors = vec4<f32>(0.0);
    for (var i = 0u; i < VECTORS; i++) {
      let difference = scale * trial[i] + offset - part[i];
      errors += weigh(difference * difference, i);
    }
    let error = sum4(errors);
    if (error < least * CLEARLY - alike) {
      least = error;
      best = vec2<f32>(scale, -offset);
    }
  }
  return best;
}
