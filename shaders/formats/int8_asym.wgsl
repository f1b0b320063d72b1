// Formats int8-g*-asym: w = scale · (code − zero), code and zero uint8; one f16 scale and one uint8 zero for GROUP weights of a row.
// Codes: byte i of a row belongs to weight i.
// The kernel declares `fn row_length() -> u32`, the weights in a row: a multiple of GROUP.
// #include "shared/scales.wgsl"
// #include "shared/zeros.wgsl"
@group(1) @binding(0) var<storage, read> weight_codes: array<vec4<u32>>;

override GROUP: u32 = 32;

// The four bytes of a word; through signed integers, which software devices convert in one instruction.
fn bytes_of(word: u32) -> vec4<f32> {
  return vec4<f32>(vec4<i32>((vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(0xffu)));
}

// Weights k .. k + 3 of a row.
fn load4(row: u32, k: u32) -> vec4<f32> {
  let at = row * row_length() + k;
  return load_scale(at / GROUP) * (bytes_of(weight_codes[at >> 4u][(at >> 2u) & 3u]) - load_zero(at / GROUP));
}

fn load4_aligned(row: u32, k: u32) -> vec4<f32> {
  return load4(row, k);
}

// A chunk: consecutive weights of a row, from a multiple of CHUNK on; chunk4 · chunk_scale are weights 4i .. 4i + 3 of it.
const CHUNK = 16u;

struct Chunk {
  words: vec4<u32>,
  scale: f32,
  zero: f32,
}

fn load_chunk(row: u32, k: u32) -> Chunk {
  let at = row * row_length() + k;
  return Chunk(weight_codes[at >> 4u], load_scale(at / GROUP), load_zero(at / GROUP));
}

fn chunk4(chunk: Chunk, i: u32) -> vec4<f32> {
  return bytes_of(chunk.words[i]) - chunk.zero;
}

fn chunk_scale(chunk: Chunk) -> f32 {
  return chunk.scale;
}
