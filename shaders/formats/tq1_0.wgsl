// Format tq1_0: w = scale · (digit − 1); one f16 scale for 256 weights of a row. A byte is a fraction with five digits base 3, of weights
// that are 32, 16 or, in the last word of a block, 4 apart.
// The kernel declares `fn row_length() -> u32`, the weights in a row: a multiple of 256.
// #include "shared/scales.wgsl"
@group(1) @binding(0) var<storage, read> weight_codes: array<u32>;

// Weights k .. k + 3 of a row: the same digit of four bytes.
fn load4(row: u32, k: u32) -> vec4<f32> {
  let at = row * row_length() + k;
  let i = at & 255u;
  var word = (i & 31u) >> 2u;
  var digit = i >> 5u;
  if (i >= 240u) {
    word = 12u;
    digit = (i - 240u) >> 2u;
  } else if (i >= 160u) {
    word = 8u + ((i & 15u) >> 2u);
    digit = (i - 160u) >> 4u;
  }
  let bytes = (vec4<u32>(weight_codes[13u * (at >> 8u) + word]) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(0xffu);
  // 3^digit: 1, 3, 9, 27 and 81. What is left after the digits before this one is the fraction that it starts.
  let power = select(81u, (0x1b090301u >> (8u * digit)) & 0xffu, digit < 4u);
  let digits = (((bytes * power) & vec4<u32>(0xffu)) * 3u) >> vec4<u32>(8u);
  return load_scale(at >> 8u) * vec4<f32>(vec4<i32>(digits) - 1);
}

fn load4_aligned(row: u32, k: u32) -> vec4<f32> {
  return load4(row, k);
}

// #include "shared/dense_chunk.wgsl"

// Scale and offset of weight `at`, counted over whole rows: w = scale · level + offset (Grid in src/formats/format.ts).
fn grid_of(at: u32) -> vec2<f32> {
  return vec2<f32>(load_scale(at >> 8u), 0.0);
}
