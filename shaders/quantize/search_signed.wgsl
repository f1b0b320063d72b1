// The search for the scale of the sub-block at hand (searchSigned in src/formats/scale-search.ts). The kernel defines
//   fn nearest4(x: vec4<f32>) -> vec4<f32>                     levels nearest to four numbers
//   TRIALS, fn trial_end(t: u32) -> f32                        what the largest weight is tried as
//   THOROUGH                                                   as with gains, where there are none

// The first weight of largest magnitude.
fn extreme() -> f32 {
  var magnitude = 0.0;
  var found_one = 0.0;
  for (var i = 0u; i < VECTORS; i++) {
    for (var lane = 0u; lane < 4u; lane++) {
      let w = part[i][lane];
      if (abs(w) > magnitude) {
        magnitude = abs(w);
        found_one = w;
      }
    }
  }
  return found_one;
}

fn search_signed() -> f32 {
  let largest = extreme();
  if (abs(largest) < SMALLEST) { return 0.0; }
  let inverse = reciprocal(largest);
  let thorough = THOROUGH || weighted();
  let alike = ALIKE * (largest * largest);
  // Σxq and Σq² of the best trial, which explains Σ²xq / Σq²: compared without a division, which takes longer than the rest of a trial.
  var best = vec2<f32>(0.0, 1.0);
  var least = 0x1p+120;
  var scale = 0.0;
  for (var t = 0u; t < end_of(0u, select(TRIALS, TRIALS + ROUNDS, thorough)); t++) {
    var factor = trial_end(t) * inverse;
    if (thorough && t >= TRIALS) { factor = inverse_of(scale); }
    var sums_xq = vec4<f32>(0.0);
    var sums_q2 = vec4<f32>(0.0);
    for (var i = 0u; i < VECTORS; i++) {
      let q = nearest4(part[i] * factor);
      trial[i] = q;
      sums_xq += weigh(part[i] * q, i);
      sums_q2 += weigh(q * q, i);
    }
    let sum_xq = sum4(sums_xq);
    let sum_q2 = sum4(sums_q2);
    if (thorough) {
      let candidate = divide(sum_xq, sum_q2);
      var errors = vec4<f32>(0.0);
      for (var i = 0u; i < VECTORS; i++) {
        let difference = candidate * trial[i] - part[i];
        errors += weigh(difference * difference, i);
      }
      let error = sum4(errors);
      if (error < least * CLEARLY - alike) {
        least = error;
        scale = candidate;
      }
    } else if (sum_xq * sum_xq * best.y * CLEARLY_MORE > best.x * best.x * sum_q2) {
      best = vec2<f32>(sum_xq, sum_q2);
    }
  }
  return select(divide(best.x, best.y), scale, thorough);
}
