// Format q4_1: w = scale · code + minimum; one f16 scale and one f16 minimum for 32 weights of a row.
// The kernel declares `fn row_length() -> u32`, the weights in a row: a multiple of 32.
// #include "shared/scales.wgsl"
// #include "shared/minima.wgsl"
// #include "shared/nibbles.wgsl"

// Weights k .. k + 3 of a row.
fn load4(row: u32, k: u32) -> vec4<f32> {
  let at = row * row_length() + k;
  return load_scale(at >> 5u) * vec4<f32>(unpack_nibbles(nibbles_at(at))) + load_minimum(at >> 5u);
}

fn load4_aligned(row: u32, k: u32) -> vec4<f32> {
  return load4(row, k);
}

// A chunk: consecutive weights of a row, from a multiple of CHUNK on; chunk4 · chunk_scale are weights 4i .. 4i + 3 of it.
// A minimum can't be divided by a scale that may be zero, so chunk4 gives finished weights. scale · code is exact, whether it is
// fused with the sum or not: a weight is rounded once, as load4 rounds it.
const CHUNK = 16u;

struct Chunk {
  words: vec2<u32>,
  scale: f32,
  minimum: f32,
}

fn load_chunk(row: u32, k: u32) -> Chunk {
  let at = row * row_length() + k;
  return Chunk(weight_codes[at >> 4u], load_scale(at >> 5u), load_minimum(at >> 5u));
}

fn chunk4(chunk: Chunk, i: u32) -> vec4<f32> {
  return chunk.scale * vec4<f32>(unpack_nibbles(nibbles_of(chunk.words, i))) + chunk.minimum;
}

fn chunk_scale(chunk: Chunk) -> f32 {
  return 1.0;
}

// Scale and offset of weight `at`, counted over whole rows: w = scale · level + offset (Grid in src/formats/format.ts).
fn grid_of(at: u32) -> vec2<f32> {
  return vec2<f32>(load_scale(at >> 5u), load_minimum(at >> 5u));
}
