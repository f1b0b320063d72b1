// Rows of values to int8 (quantizeRow in src/formats/w8a8.ts): a workgroup finds the largest magnitude of its row over a tree, and each thread
// rounds every WORKGROUP-th four of them. The kernel defines fn value4(row: u32, k: u32) -> vec4<f32>, values k .. k + 3 of a row and zeros
// past its end, and fn columns() -> u32, the values in a row.
// #include "rounding.wgsl"
// #include "pack.wgsl"
override WORKGROUP: u32 = 64;

const LARGEST = 127.0;
const NAN = 0x7fc00000u;
const SMALLEST = 0x0d800000u;       // 2^-100
const SMALLEST_SCALE = 0x0a000000u; // 2^-107
const SCALE_LIMIT = 0x7b800000u;    // 2^120

var<workgroup> largest: array<u32, WORKGROUP>;

fn words_of_row() -> u32 {
  return (columns() + 3u) >> 2u;
}

// Bits of the largest magnitude of a row: by integer comparison, so infinity is above all numbers, and NaN above that.
fn largest_of(row: u32, thread: u32) -> u32 {
  var most = vec4<u32>(0u);
  for (var word = thread; word < words_of_row(); word += WORKGROUP) {
    most = max(most, bitcast<vec4<u32>>(value4(row, 4u * word)) & vec4<u32>(0x7fffffffu));
  }
  largest[thread] = max(max(most.x, most.y), max(most.z, most.w));
  workgroupBarrier();
  for (var half = WORKGROUP / 2u; half > 0u; half >>= 1u) {
    if (thread < half) { largest[thread] = max(largest[thread], largest[thread + half]); }
    workgroupBarrier();
  }
  return largest[0];
}

// Bits of the scale of a row with that largest magnitude.
fn measured_scale(most: u32) -> u32 {
  if (most >= 0x7f800000u) { return NAN; }
  if (most < SMALLEST) { return 0u; }
  return divide_bits(most, bitcast<u32>(LARGEST));
}

// The same where the scale is given.
fn given_scale(most: u32, given: u32) -> u32 {
  let scale = given & 0x7fffffffu;
  if (most >= 0x7f800000u || scale >= SCALE_LIMIT) { return NAN; }
  return select(scale, 0u, scale < SMALLEST_SCALE);
}

// Four codes of a row under the scale of these bits, as a word.
fn word_of(row: u32, word: u32, scale: u32) -> u32 {
  if (scale == 0u || scale == NAN) { return 0u; }
  let step = bitcast<f32>(scale);
  let nearest = rounded_quotient4(value4(row, 4u * word), step, 1.0 / step, 8u);
  return pack_signed_bytes(clamp(nearest, vec4<f32>(-LARGEST), vec4<f32>(LARGEST)));
}
