// Codes chosen column by column, [k, rows] in the order of `place`, as bytes of the matrix [rows, k]: a thread makes a word.
// #include "../common/each.wgsl"
struct Params { rows: u32, k: u32 }

@group(0) @binding(0) var<storage, read> chosen: array<u32>;  // [k, rows]
@group(0) @binding(1) var<storage, read> place: array<u32>;   // [k]: the row of `chosen` that a column is
@group(0) @binding(2) var<storage, read_write> codes: array<u32>;
@group(0) @binding(3) var<uniform> params: Params;

fn each(word: u32) {
  let count = params.rows * params.k;
  if (4u * word >= count) { return; }
  var packed = 0u;
  for (var i = 0u; i < min(4u, count - 4u * word); i++) {
    let at = 4u * word + i;
    packed |= (chosen[place[at % params.k] * params.rows + at / params.k] & 0xffu) << (8u * i);
  }
  codes[word] = packed;
}
