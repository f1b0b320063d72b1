// Groups of weights in FP8, each with a scale: w = scale · value of a byte. The format defines fn values_of(bytes: vec4<u32>) -> vec4<f32>.
// The kernel declares `fn row_length() -> u32`, the weights in a row: a multiple of GROUP.
// #include "group_floats.wgsl"
@group(1) @binding(0) var<storage, read> weight_codes: array<vec4<u32>>;

// Bits of positive values with a sign bit in place 7 of a byte.
fn with_sign(bytes: vec4<u32>, magnitudes: vec4<u32>) -> vec4<f32> {
  return bitcast<vec4<f32>>(magnitudes | ((bytes & vec4<u32>(0x80u)) << vec4<u32>(24u)));
}

fn word_values(word: u32) -> vec4<f32> {
  return values_of((vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(0xffu));
}

// Weights k .. k + 3 of a row.
fn load4(row: u32, k: u32) -> vec4<f32> {
  let at = row * row_length() + k;
  return load_scale(at / GROUP) * word_values(weight_codes[at >> 4u][(at >> 2u) & 3u]);
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
  return word_values(chunk.words[i]);
}

fn chunk_scale(chunk: Chunk) -> f32 {
  return chunk.scale;
}
