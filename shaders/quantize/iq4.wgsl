// The search of ggml's iq4 types (src/formats/iq4.ts): each end of the levels for the largest weight of 32, moved by some units either way.
const SUB = 32u;
// #include "k_block.wgsl"

const THOROUGH = false;
// Each end with seven steps of 3 by which it is moved either way.
const TRIALS = 30u;
const LOW_END = -127.0;
const HIGH_END = 113.0;

fn trial_end(t: u32) -> f32 {
  let is_high = t >= 15u;
  return 3.0 * f32(i32(select(t, t - 15u, is_high)) - 7) + select(LOW_END, HIGH_END, is_high);
}

// #include "search_signed.wgsl"

fn choose(is_high: vec4<bool>, low: f32, high: f32) -> vec4<f32> {
  return select(vec4<f32>(low), vec4<f32>(high), is_high);
}

// The level nearest to each of four numbers, of two the lower: four comparisons with what lies halfway between levels.
fn nearest4(x: vec4<f32>) -> vec4<f32> {
  let a = x > vec4<f32>(-4.5);
  let b = x > choose(a, -57.0, 45.5);
  let c = x > select(choose(a, -93.5, 19.0), choose(a, -28.5, 79.0), b);
  let low = select(choose(a, -115.5, 7.0), choose(a, -42.0, 61.0), b);
  let high = select(choose(a, -74.0, 31.5), choose(a, -16.0, 101.0), b);
  let d = x > select(low, high, c);
  let low0 = select(choose(a, -127.0, 1.0), choose(a, -49.0, 53.0), b);
  let low1 = select(choose(a, -83.0, 25.0), choose(a, -22.0, 89.0), b);
  let high0 = select(choose(a, -104.0, 13.0), choose(a, -35.0, 69.0), b);
  let high1 = select(choose(a, -65.0, 38.0), choose(a, -10.0, 113.0), b);
  return select(select(low0, low1, c), select(high0, high1, c), d);
}

// Its code, as f32.
fn nearest_code4(x: vec4<f32>) -> vec4<f32> {
  let a = x > vec4<f32>(-4.5);
  let b = x > choose(a, -57.0, 45.5);
  let c = x > select(choose(a, -93.5, 19.0), choose(a, -28.5, 79.0), b);
  let low = select(choose(a, -115.5, 7.0), choose(a, -42.0, 61.0), b);
  let high = select(choose(a, -74.0, 31.5), choose(a, -16.0, 101.0), b);
  let d = x > select(low, high, c);
  return choose(a, 0.0, 8.0) + choose(b, 0.0, 4.0) + choose(c, 0.0, 2.0) + choose(d, 0.0, 1.0);
}
