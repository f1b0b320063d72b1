// Formats int8-g* and q8_0: w = scale · code, code int8; one f16 scale for GROUP weights of a row.
// Codes: byte i of a row belongs to weight i.
// The kernel declares `fn row_length() -> u32`, the weights in a row: a multiple of GROUP.
// #include "shared/scales.wgsl"
@group(1) @binding(0) var<storage, read> weight_codes: array<vec4<u32>>;

override GROUP: u32 = 32;

// Weights k .. k + 3 of a row.
fn load4(row: u32, k: u32) -> vec4<f32> {
  let at = row * row_length() + k;
  let word = bitcast<i32>(weight_codes[at >> 4u][(at >> 2u) & 3u]);
  let codes = (vec4<i32>(word) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u);
  return load_scale(at / GROUP) * vec4<f32>(codes);
}

fn load4_aligned(row: u32, k: u32) -> vec4<f32> {
  return load4(row, k);
}

// A chunk: consecutive weights of a row, from a multiple of CHUNK on; chunk4 · chunk_scale are weights 4i .. 4i + 3 of it.
const CHUNK = 16u;

struct Chunk {
  words: vec4<u32>,
  scale: f32,
}

fn load_chunk(row: u32, k: u32) -> Chunk {
  let at = row * row_length() + k;
  return Chunk(weight_codes[at >> 4u], load_scale(at / GROUP));
}

fn chunk4(chunk: Chunk, i: u32) -> vec4<f32> {
  let word = bitcast<i32>(chunk.words[i]);
  return vec4<f32>((vec4<i32>(word) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u));
}

fn chunk_scale(chunk: Chunk) -> f32 {
  return chunk.scale;
}

// Scale and offset of weight `at`, counted over whole rows: w = scale · level + offset (Grid in src/formats/format.ts).
fn grid_of(at: u32) -> vec2<f32> {
  return vec2<f32>(load_scale(at / GROUP), 0.0);
}
