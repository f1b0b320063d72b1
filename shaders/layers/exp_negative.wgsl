// exp for x <= 0; below -104 the result is below every f32.
fn exp_negative4(x: vec4<f32>) -> vec4<f32> {
  return select(vec4<f32>(0.0), exp(max(x, vec4<f32>(-104.0))), x > vec4<f32>(-104.0));
}

fn exp_negative(x: f32) -> f32 {
  return select(0.0, exp(max(x, -104.0)), x > -104.0);
}

// Scores stay where their differences are finite.
const LARGEST = 1.5e38;
