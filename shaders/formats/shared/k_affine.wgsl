// Super-blocks with a minimum: w = d · scale · code − dmin · minimum. The format defines
//   fn pair_of(at: u32) -> vec2<u32>                        the multiples of d and dmin of the sub-block of weight `at`
//   fn codes_of(words: Words, i: u32) -> vec4<i32>          codes of weights 4i .. 4i + 3 of sixteen
//   fn words_of(at: u32) -> Words                           what holds the codes of the sixteen from `at` on
// #include "../../common/float16.wgsl"
// #include "k_bits.wgsl"
@group(1) @binding(1) var<storage, read> weight_steps: array<u32>;

// Scale and minimum of weight `at`; products of 11 and 6 bits are exact.
fn affine_of(at: u32) -> vec2<f32> {
  let steps = weight_steps[at >> 8u];
  let pair = vec2<f32>(vec2<i32>(pair_of(at)));
  return vec2<f32>(f16_value(steps & 0xffffu), f16_value(steps >> 16u)) * pair;
}

// Weights k .. k + 3 of a row.
fn load4(row: u32, k: u32) -> vec4<f32> {
  let at = row * row_length() + k;
  let affine = affine_of(at);
  return affine.x * vec4<f32>(codes_of(words_of(at & ~15u), (at >> 2u) & 3u)) - affine.y;
}

fn load4_aligned(row: u32, k: u32) -> vec4<f32> {
  return load4(row, k);
}

// A chunk: consecutive weights of a row, from a multiple of CHUNK on; chunk4 · chunk_scale are weights 4i .. 4i + 3 of it.
// A minimum can't be divided by a scale that may be zero, so chunk4 gives finished weights. scale · code is exact, whether it is
// fused with the difference or not: a weight is rounded once.
const CHUNK = 16u;

struct Chunk {
  words: Words,
  affine: vec2<f32>,
}

fn load_chunk(row: u32, k: u32) -> Chunk {
  let at = row * row_length() + k;
  return Chunk(words_of(at), affine_of(at));
}

fn chunk4(chunk: Chunk, i: u32) -> vec4<f32> {
  return chunk.affine.x * vec4<f32>(codes_of(chunk.words, i)) - chunk.affine.y;
}

fn chunk_scale(chunk: Chunk) -> f32 {
  return 1.0;
}

// Scale and offset of weight `at`, counted over whole rows: w = scale · level + offset (Grid in src/formats/format.ts).
fn grid_of(at: u32) -> vec2<f32> {
  let affine = affine_of(at);
  return vec2<f32>(affine.x, -affine.y);
}
