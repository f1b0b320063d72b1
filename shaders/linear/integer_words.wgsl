// The words of weights, one by one.
@group(1) @binding(0) var<storage, read> weight_codes: array<u32>;

// A word of four rows; rows past the last repeat it.
fn four_words(row: u32, word: u32) -> vec4<u32> {
  let rows = min(vec4<u32>(row) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(params.rows - 1u));
  let at = rows * params.words + word;
  return vec4<u32>(weight_codes[at.x], weight_codes[at.y], weight_codes[at.z], weight_codes[at.w]);
}

// Four words of a row, from a multiple of four on; the last stands for those behind the row.
fn words_of(row: u32, word: u32) -> vec4<u32> {
  let at = row * params.words + min(vec4<u32>(word) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(params.words - 1u));
  return vec4<u32>(weight_codes[at.x], weight_codes[at.y], weight_codes[at.z], weight_codes[at.w]);
}
