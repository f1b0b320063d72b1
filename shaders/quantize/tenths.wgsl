// Trials of the level END for the largest weight, and of levels up to nine tenths beside it.
const TRIALS = 19u;

fn trial_end(t: u32) -> f32 {
  return 0.1 * f32(i32(t) - 9) + END;
}
