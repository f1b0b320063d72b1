// A chunk: consecutive weights of a row, from a multiple of CHUNK on; chunk4 · chunk_scale are weights 4i .. 4i + 3 of it.
const CHUNK = 16u;
alias Chunk = array<vec4<f32>, 4>;

fn load_chunk(row: u32, k: u32) -> Chunk {
  return Chunk(
    load4_aligned(row, k),
    load4_aligned(row, k + 4u),
    load4_aligned(row, k + 8u),
    load4_aligned(row, k + 12u),
  );
}

fn chunk4(chunk: Chunk, i: u32) -> vec4<f32> {
  return chunk[i];
}

fn chunk_scale(chunk: Chunk) -> f32 {
  return 1.0;
}
