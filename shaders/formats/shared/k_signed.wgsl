// Super-blocks without a minimum: w = d · scale · code. The format defines
//   fn scale_of(at: u32) -> i32                             the multiple of d of the sub-block of weight `at`
//   fn codes_of(words: Words, i: u32) -> vec4<i32>          codes of weights 4i .. 4i + 3 of sixteen
//   fn words_of(at: u32) -> Words                           what holds the codes of the sixteen from `at` on
// #include "scales.wgsl"
// #include "k_bits.wgsl"

// Scale of weight `at`, exact.
fn signed_of(at: u32) -> f32 {
  return load_scale(at >> 8u) * f32(scale_of(at));
}

// Weights k .. k + 3 of a row.
fn load4(row: u32, k: u32) -> vec4<f32> {
  let at = row * row_length() + k;
  return signed_of(at) * vec4<f32>(codes_of(words_of(at & ~15u), (at >> 2u) & 3u));
}

fn load4_aligned(row: u32, k: u32) -> vec4<f32> {
  return load4(row, k);
}

// A chunk: consecutive weights of a row, from a multiple of CHUNK on; chunk4 · chunk_scale are weights 4i .. 4i + 3 of it.
const CHUNK = 16u;

struct Chunk {
  words: Words,
  scale: f32,
}

fn load_chunk(row: u32, k: u32) -> Chunk {
  let at = row * row_length() + k;
  return Chunk(words_of(at), signed_of(at));
}

fn chunk4(chunk: Chunk, i: u32) -> vec4<f32> {
  return vec4<f32>(codes_of(chunk.words, i));
}

fn chunk_scale(chunk: Chunk) -> f32 {
  return chunk.scale;
}

// Scale and offset of weight `at`, counted over whole rows: w = scale · level + offset (Grid in src/formats/format.ts).
fn grid_of(at: u32) -> vec2<f32> {
  return vec2<f32>(signed_of(at), 0.0);
}
