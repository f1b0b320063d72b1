// The sixteen levels of NF4 (src/formats/nf4.ts).
// #include "nibbles.wgsl"

const LEVELS = array<f32, 16>(
  -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
  -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
  0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0
);

// Of the codes that are the low nibbles of four bytes.
fn values4(word: u32) -> vec4<f32> {
  let codes = unpack_nibbles(word);
  return vec4<f32>(LEVELS[codes.x], LEVELS[codes.y], LEVELS[codes.z], LEVELS[codes.w]);
}
