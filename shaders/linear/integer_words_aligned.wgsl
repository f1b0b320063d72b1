// The words of weights where rows have a multiple of four: whole vec4 loads.
@group(1) @binding(0) var<storage, read> weight_codes: array<vec4<u32>>;

// Four words of a row, from a multiple of four on.
fn words_of(row: u32, word: u32) -> vec4<u32> {
  return weight_codes[(row * params.words + word) >> 2u];
}
