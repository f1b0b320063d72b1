// Integer groups whose zero is the code MIDDLE.
// The kernel declares `fn row_length() -> u32`, the weights in a row: a multiple of GROUP.
// #include "group_floats.wgsl"

// Weights k .. k + 3 of a row.
fn load4(row: u32, k: u32) -> vec4<f32> {
  let at = row * row_length() + k;
  return load_scale(at / GROUP) * vec4<f32>(codes_at(at) - MIDDLE);
}

fn load4_aligned(row: u32, k: u32) -> vec4<f32> {
  return load4(row, k);
}

// Scale and offset of weight `at`, counted over whole rows.
fn grid_of(at: u32) -> vec2<f32> {
  return vec2<f32>(load_scale(at / GROUP), 0.0);
}

// A chunk: consecutive weights of a row, from a multiple of CHUNK on; chunk4 · chunk_scale are weights 4i .. 4i + 3 of it.
const CHUNK = 16u;

struct Chunk {
  words: Words,
  scale: f32,
}

fn load_chunk(row: u32, k: u32) -> Chunk {
  let at = row * row_length() + k;
  return Chunk(words_at(at), load_scale(at / GROUP));
}

fn chunk4(chunk: Chunk, i: u32) -> vec4<f32> {
  return vec4<f32>(codes_of(chunk.words, i) - MIDDLE);
}

fn chunk_scale(chunk: Chunk) -> f32 {
  return chunk.scale;
}
