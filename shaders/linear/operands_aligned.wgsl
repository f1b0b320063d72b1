// Operands where k is a multiple of 4: whole vec4 loads, and weights in the chunks of their format.
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;

fn x4(token: u32, k: u32) -> vec4<f32> {
  return x[(token * params.k + k) >> 2u];
}

fn w4(row: u32, k: u32) -> vec4<f32> {
  return load4_aligned(stored_row(row), k);
}

const PIECE = CHUNK;
alias Piece = Chunk;

fn piece(row: u32, k: u32) -> Piece {
  return load_chunk(stored_row(row), k);
}

fn piece4(part: Piece, i: u32) -> vec4<f32> {
  return chunk4(part, i);
}

fn piece_scale(part: Piece) -> f32 {
  return chunk_scale(part);
}
