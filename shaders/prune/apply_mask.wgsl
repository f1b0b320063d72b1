// Zeros in place of the weights that a mask leaves out. A thread has a word of the matrix: a weight, or HALVES, two of 16 bits.
// #include "../common/each.wgsl"
struct Params { count: u32, k: u32 }

@group(0) @binding(0) var<storage, read> mask: array<u32>;       // [rows, words of k bits]
@group(0) @binding(1) var<storage, read_write> data: array<u32>; // [count]
@group(0) @binding(2) var<uniform> params: Params;

override HALVES: bool = false;

fn kept(at: u32) -> bool {
  let row = at / params.k;
  let column = at % params.k;
  return at < params.count && ((mask[row * ((params.k + 31u) >> 5u) + (column >> 5u)] >> (column & 31u)) & 1u) == 1u;
}

fn each(word: u32) {
  if (!HALVES) {
    if (word < params.count && !kept(word)) { data[word] = 0u; }
    return;
  }
  if (2u * word >= params.count) { return; }
  data[word] &= select(0u, 0xffffu, kept(2u * word)) | select(0u, 0xffff0000u, kept(2u * word + 1u));
}
