// Rows of E2M1 codes with a byte of scale for GROUP weights; the format defines its bytes: fn scale_value(byte: u32) -> f32, half the scale.
// #include "float4.wgsl"
@group(1) @binding(1) var<storage, read> weight_scales: array<u32>;

// Half the scale of weight `at`, counted over whole rows.
fn half_scale(at: u32) -> f32 {
  let group = at / GROUP;
  return scale_value((weight_scales[group >> 2u] >> ((group & 3u) << 3u)) & 0xffu);
}

// Weights k .. k + 3 of a row.
fn load4(row: u32, k: u32) -> vec4<f32> {
  let at = row * row_length() + k;
  return half_scale(at) * unpack_float4(nibbles_at(at));
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
  return Chunk(weight_codes[at >> 4u], half_scale(at));
}

fn chunk4(chunk: Chunk, i: u32) -> vec4<f32> {
  return unpack_float4(nibbles_of(chunk.words, i));
}

fn chunk_scale(chunk: Chunk) -> f32 {
  return chunk.scale;
}
