// A chunk: consecutive weights of a row, from a multiple of CHUNK on; chunk4 · chunk_scale are weights 4i .. 4i + 3 of it.
const CHUNK = 4u;
alias Chunk = vec4<f32>;

fn load_chunk(row: u32, k: u32) -> Chunk {
  return load4_aligned(row, k);
}

fn chunk4(chunk: Chunk, i: u32) -> vec4<f32> {
  return chunk;
}

fn chunk_scale(chunk: Chunk) -> f32 {
  return 1.0;
}
