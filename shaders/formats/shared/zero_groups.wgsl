// Integer groups with a zero point each: an integer of ZERO_BITS bits, one after the other from the lowest bit of a word on, or, from 16 bits
// on, a float of the scales' type.
// The kernel declares `fn row_length() -> u32`, the weights in a row: a multiple of GROUP.
// #include "group_floats.wgsl"
override ZERO_BITS: u32 = 8;

@group(1) @binding(2) var<storage, read> weight_zeros: array<u32>;

// The zero point of a group, counted over whole rows.
fn load_zero(group: u32) -> f32 {
  if (ZERO_BITS >= 16u) { return float_in(weight_zeros[float_word(group)], group); }
  let at = group * ZERO_BITS;
  // Through signed integers, which software devices convert in one instruction.
  return f32(i32((weight_zeros[at >> 5u] >> (at & 31u)) & ((1u << (ZERO_BITS & 15u)) - 1u)));
}

// Weights k .. k + 3 of a row.
fn load4(row: u32, k: u32) -> vec4<f32> {
  let at = row * row_length() + k;
  return load_scale(at / GROUP) * (vec4<f32>(codes_at(at)) - load_zero(at / GROUP));
}

fn load4_aligned(row: u32, k: u32) -> vec4<f32> {
  return load4(row, k);
}

// Scale and offset of weight `at`, counted over whole rows.
fn grid_of(at: u32) -> vec2<f32> {
  let scale = load_scale(at / GROUP);
  return vec2<f32>(scale, -scale * load_zero(at / GROUP));
}

// A chunk: consecutive weights of a row, from a multiple of CHUNK on; chunk4 · chunk_scale are weights 4i .. 4i + 3 of it.
const CHUNK = 16u;

struct Chunk {
  words: Words,
  scale: f32,
  zero: f32,
}

fn load_chunk(row: u32, k: u32) -> Chunk {
  let at = row * row_length() + k;
  return Chunk(words_at(at), load_scale(at / GROUP), load_zero(at / GROUP));
}

fn chunk4(chunk: Chunk, i: u32) -> vec4<f32> {
  return vec4<f32>(codes_of(chunk.words, i)) - chunk.zero;
}

fn chunk_scale(chunk: Chunk) -> f32 {
  return chunk.scale;
}
