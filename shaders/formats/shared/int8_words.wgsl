// Eight-bit codes: byte i of a row belongs to weight i. The format defines fn bytes_of(word: u32) -> vec4<i32>, the codes of four.
@group(1) @binding(0) var<storage, read> weight_codes: array<vec4<u32>>;

// Codes of weights at .. at + 3, counted over whole rows.
fn codes_at(at: u32) -> vec4<i32> {
  return bytes_of(weight_codes[at >> 4u][(at >> 2u) & 3u]);
}

// What holds the codes of the sixteen from `at` on.
alias Words = vec4<u32>;

fn words_at(at: u32) -> Words {
  return weight_codes[at >> 4u];
}

// Codes of weights 4i .. 4i + 3 of sixteen.
fn codes_of(words: Words, i: u32) -> vec4<i32> {
  return bytes_of(words[i]);
}
