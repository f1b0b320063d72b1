// Format q5_0: w = scale · (code − 16); one f16 scale for 32 weights of a row.
// The kernel declares `fn row_length() -> u32`, the weights in a row: a multiple of 32.
// #include "shared/scales.wgsl"
// #include "shared/fives.wgsl"
@group(1) @binding(2) var<storage, read> weight_high: array<u32>;

// Weights k .. k + 3 of a row.
fn load4(row: u32, k: u32) -> vec4<f32> {
  let at = row * row_length() + k;
  return load_scale(at >> 5u) * (unpack_fives(nibbles_at(at), weight_high[at >> 5u] >> (at & 31u)) - 16.0);
}

fn load4_aligned(row: u32, k: u32) -> vec4<f32> {
  return load4(row, k);
}

// A chunk: consecutive weights of a row, from a multiple of CHUNK on; chunk4 · chunk_scale are weights 4i .. 4i + 3 of it.
const CHUNK = 16u;

struct Chunk {
  words: vec2<u32>,
  high: u32, // fifth bits, bit 0 for the first weight
  scale: f32,
}

fn load_chunk(row: u32, k: u32) -> Chunk {
  let at = row * row_length() + k;
  return Chunk(weight_codes[at >> 4u], weight_high[at >> 5u] >> (at & 16u), load_scale(at >> 5u));
}

fn chunk4(chunk: Chunk, i: u32) -> vec4<f32> {
  return unpack_fives(nibbles_of(chunk.words, i), chunk.high >> (i << 2u)) - 16.0;
}

fn chunk_scale(chunk: Chunk) -> f32 {
  return chunk.scale;
}

// Scale and offset of weight `at`, counted over whole rows: w = scale · level + offset (Grid in src/formats/format.ts).
fn grid_of(at: u32) -> vec2<f32> {
  return vec2<f32>(load_scale(at >> 5u), 0.0);
}
