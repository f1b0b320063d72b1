// Unsigned 64-bit integers as (low, high) words.
// #include "multiply_high.wgsl"
fn add64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  let low = a.x + b.x;
  return vec2<u32>(low, a.y + b.y + select(0u, 1u, low < a.x));
}

fn subtract64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  return vec2<u32>(a.x - b.x, a.y - b.y - select(0u, 1u, a.x < b.x));
}

fn less64(a: vec2<u32>, b: vec2<u32>) -> bool {
  return a.y < b.y || (a.y == b.y && a.x < b.x);
}

fn multiply(a: u32, b: u32) -> vec2<u32> {
  return vec2<u32>(a * b, multiply_high(a, b));
}

// a · fraction · 2^-32 rounded down, and the 32 bits after the point.
fn scale64(a: vec2<u32>, fraction: u32) -> vec3<u32> {
  let low = multiply(a.x, fraction);
  return vec3<u32>(add64(multiply(a.y, fraction), vec2<u32>(low.y, 0u)), low.x);
}
