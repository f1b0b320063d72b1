// Formats int4-g* and q4_0: w = scale · (code − 8); one f16 scale for GROUP weights of a row.
// Codes: each word holds eight weights, b in the low nibble of byte b, 4 + b in its high nibble (b = 0..3).
// The kernel declares `fn row_length() -> u32`, the weights in a row: a multiple of GROUP.
// #include "../common/float16.wgsl"
@group(1) @binding(0) var<storage, read> weight_codes: array<vec4<u32>>;
@group(1) @binding(1) var<storage, read> weight_scales: array<u32>;

override GROUP: u32 = 32;

// The scale of a group, counted over whole rows.
fn load_scale(group: u32) -> f32 {
  return f16_value((weight_scales[group >> 1u] >> ((group & 1u) << 4u)) & 0xffffu);
}

// Weights k .. k + 3 of a row.
fn load4(row: u32, k: u32) -> vec4<f32> {
  let at = row * row_length() + k;
  let nibbles = weight_codes[at >> 5u][(at >> 3u) & 3u] >> (at & 4u);
  let codes = (vec4<u32>(nibbles) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(0xfu);
  return load_scale(at / GROUP) * (vec4<f32>(codes) - 8.0);
}

fn load4_aligned(row: u32, k: u32) -> vec4<f32> {
  return load4(row, k);
}

// A chunk: consecutive weights of a row, from a multiple of CHUNK on; chunk4 · chunk_scale are weights 4i .. 4i + 3 of it.
const CHUNK = 32u;

struct Chunk {
  words: vec4<u32>,
  scale: f32,
}

fn load_chunk(row: u32, k: u32) -> Chunk {
  let at = row * row_length() + k;
  return Chunk(weight_codes[at >> 5u], load_scale(at / GROUP));
}

fn chunk4(chunk: Chunk, i: u32) -> vec4<f32> {
  let codes = (vec4<u32>(chunk.words[i >> 1u] >> ((i & 1u) << 2u)) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(0xfu);
  return vec4<f32>(codes) - 8.0;
}

fn chunk_scale(chunk: Chunk) -> f32 {
  return chunk.scale;
}
