// Format tq2_0: w = scale · (digit − 1); one f16 scale for 256 weights of a row. A byte holds two bits of four weights that are 32 apart.
// The kernel declares `fn row_length() -> u32`, the weights in a row: a multiple of 256.
// #include "shared/scales.wgsl"
@group(1) @binding(0) var<storage, read> weight_codes: array<vec4<u32>>;

// Of four bytes the two bits at `shift`, minus 1.
fn ternary4(word: u32, shift: u32) -> vec4<f32> {
  return vec4<f32>(vec4<i32>((vec4<u32>(word >> shift) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(3u)) - 1);
}

// Weights k .. k + 3 of a row.
fn load4(row: u32, k: u32) -> vec4<f32> {
  let at = row * row_length() + k;
  let word = weight_codes[4u * (at >> 8u) + 2u * ((at >> 7u) & 1u) + ((at >> 4u) & 1u)][(at >> 2u) & 3u];
  return load_scale(at >> 8u) * ternary4(word, 2u * ((at >> 5u) & 3u));
}

fn load4_aligned(row: u32, k: u32) -> vec4<f32> {
  return load4(row, k);
}

// A chunk: consecutive weights of a row, from a multiple of CHUNK on; chunk4 · chunk_scale are weights 4i .. 4i + 3 of it.
const CHUNK = 16u;

struct Chunk {
  words: vec4<u32>,
  shift: u32,
  scale: f32,
}

fn load_chunk(row: u32, k: u32) -> Chunk {
  let at = row * row_length() + k;
  let words = weight_codes[4u * (at >> 8u) + 2u * ((at >> 7u) & 1u) + ((at >> 4u) & 1u)];
  return Chunk(words, 2u * ((at >> 5u) & 3u), load_scale(at >> 8u));
}

fn chunk4(chunk: Chunk, i: u32) -> vec4<f32> {
  return ternary4(chunk.words[i], chunk.shift);
}

fn chunk_scale(chunk: Chunk) -> f32 {
  return chunk.scale;
}

// Scale and offset of weight `at`, counted over whole rows: w = scale · level + offset (Grid in src/formats/format.ts).
fn grid_of(at: u32) -> vec2<f32> {
  return vec2<f32>(load_scale(at >> 8u), 0.0);
}
