// The sixteen levels of NF4 (src/formats/nf4.ts).
// #include "nibbles.wgsl"

fn level(x: f32) -> vec4<f32> {
  return vec4<f32>(x);
}

// Of the codes that are the low nibbles of four bytes: each bit halves what is left to choose from.
fn values4(word: u32) -> vec4<f32> {
  let codes = unpack_nibbles(word);
  let one = (codes & vec4<i32>(1)) != vec4<i32>(0);
  let two = (codes & vec4<i32>(2)) != vec4<i32>(0);
  let four = (codes & vec4<i32>(4)) != vec4<i32>(0);
  let pair0 = select(level(-1.0), level(-0.6961928009986877), one);
  let pair1 = select(level(-0.5250730514526367), level(-0.39491748809814453), one);
  let pair2 = select(level(-0.28444138169288635), level(-0.18477343022823334), one);
  let pair3 = select(level(-0.09105003625154495), level(0.0), one);
  let pair4 = select(level(0.07958029955625534), level(0.16093020141124725), one);
  let pair5 = select(level(0.24611230194568634), level(0.33791524171829224), one);
  let pair6 = select(level(0.44070982933044434), level(0.5626170039176941), one);
  let pair7 = select(level(0.7229568362236023), level(1.0), one);
  let quad0 = select(pair0, pair1, two);
  let quad1 = select(pair2, pair3, two);
  let quad2 = select(pair4, pair5, two);
  let quad3 = select(pair6, pair7, two);
  return select(select(quad0, quad1, four), select(quad2, quad3, four), codes >= vec4<i32>(8));
}
