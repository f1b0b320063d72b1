// Where a radix select over many matrices stands: counts that may pass 32 bits are pairs of words, the lower one first.
struct Selection {
  left: vec2<u32>,   // keys to keep among those that begin with the prefix
  equal: vec2<u32>,  // how many there are
  prefix: u32,       // the digits chosen so far; in the end the least key that is kept
}

const DIGITS = 2048u;

fn add(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  let low = a.x + b.x;
  return vec2<u32>(low, a.y + b.y + select(0u, 1u, low < a.x));
}

fn subtract(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  return vec2<u32>(a.x - b.x, a.y - b.y - select(0u, 1u, a.x < b.x));
}

fn less(a: vec2<u32>, b: vec2<u32>) -> bool {
  return a.y < b.y || (a.y == b.y && a.x < b.x);
}
