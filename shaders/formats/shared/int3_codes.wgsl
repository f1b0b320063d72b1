// Three-bit codes, 32 in three words, one after the other from the lowest bit on: sixteen are the first or the last 48 bits of three words.
// Codes are signed, which software devices convert to f32 in one instruction.
@group(1) @binding(0) var<storage, read> weight_codes: array<u32>;

// Eight codes in the low 24 bits of each.
alias Words = vec2<u32>;

// What holds the codes of the sixteen among which weight `at` is, counted over whole rows.
fn words_at(at: u32) -> Words {
  let first = 3u * (at >> 5u);
  let middle = weight_codes[first + 1u];
  let outer = weight_codes[first + ((at >> 3u) & 2u)];
  let low = vec2<u32>(outer, (outer >> 24u) | (middle << 8u));
  let high = vec2<u32>((middle >> 16u) | (outer << 16u), outer >> 8u);
  return select(low, high, (at & 16u) != 0u);
}

// Codes of weights 4i .. 4i + 3 of sixteen.
fn codes_of(words: Words, i: u32) -> vec4<i32> {
  let four = words[i >> 1u] >> (12u * (i & 1u));
  return vec4<i32>((vec4<u32>(four) >> vec4<u32>(0u, 3u, 6u, 9u)) & vec4<u32>(7u));
}

// Codes of weights at .. at + 3.
fn codes_at(at: u32) -> vec4<i32> {
  return codes_of(words_at(at), (at >> 2u) & 3u);
}
