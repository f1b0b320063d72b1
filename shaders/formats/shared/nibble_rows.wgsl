// Rows of four-bit codes that stand for values off a line. The format defines
//   fn scale_of(at: u32) -> f32                             the scale of weight `at`, counted over whole rows
//   fn values4(word: u32) -> vec4<f32>                      values of the codes that are the low nibbles of four bytes
// #include "nibbles.wgsl"

// Weights k .. k + 3 of a row.
fn load4(row: u32, k: u32) -> vec4<f32> {
  let at = row * row_length() + k;
  return scale_of(at) * values4(nibbles_at(at));
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
  return Chunk(weight_codes[at >> 4u], scale_of(at));
}

fn chunk4(chunk: Chunk, i: u32) -> vec4<f32> {
  return values4(nibbles_of(chunk.words, i));
}

fn chunk_scale(chunk: Chunk) -> f32 {
  return chunk.scale;
}

// Scale and offset of weight `at`, counted over whole rows: w = scale · level + offset (Grid in src/formats/format.ts).
fn grid_of(at: u32) -> vec2<f32> {
  return vec2<f32>(scale_of(at), 0.0);
}
