// Formats int4-g* and q4_0: w = scale · (code − 8); one f16 scale for GROUP weights of a row.
// The kernel declares `fn row_length() -> u32`, the weights in a row: a multiple of GROUP.
// #include "shared/scales.wgsl"
// #include "shared/nibbles.wgsl"

override GROUP: u32 = 32;

// Weights k .. k + 3 of a row.
fn load4(row: u32, k: u32) -> vec4<f32> {
  let at = row * row_length() + k;
  return load_scale(at / GROUP) * vec4<f32>(unpack_nibbles(nibbles_at(at)) - 8);
}

fn load4_aligned(row: u32, k: u32) -> vec4<f32> {
  return load4(row, k);
}

// A chunk: consecutive weights of a row, from a multiple of CHUNK on; chunk4 · chunk_scale are weights 4i .. 4i + 3 of it.
const CHUNK = 16u;

struct Chunk {
  words: vec2<u32>,
  scale: f32,
}

fn load_chunk(row: u32, k: u32) -> Chunk {
  let at = row * row_length() + k;
  return Chunk(weight_codes[at >> 4u], load_scale(at / GROUP));
}

fn chunk4(chunk: Chunk, i: u32) -> vec4<f32> {
  return vec4<f32>(unpack_nibbles(nibbles_of(chunk.words, i)) - 8);
}

fn chunk_scale(chunk: Chunk) -> f32 {
  return chunk.scale;
}

// Scale and offset of weight `at`, counted over whole rows: w = scale · level + offset (Grid in src/formats/format.ts).
fn grid_of(at: u32) -> vec2<f32> {
  return vec2<f32>(load_scale(at / GROUP), 0.0);
}
