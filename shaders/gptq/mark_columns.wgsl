// Marks for the columns of a matrix in the order of `order`, [k, rows]: which weights a mask leaves out, and the group of its row whose scale each has.
// #include "../common/each.wgsl"
// #include "marks.wgsl"
struct Params {
  rows: u32,
  k: u32,
  words: u32,
  group: u32, // weights, or slots, that share a scale
  keep: u32,  // where weights are packed: slots of a group of `of` columns; else 0
  of_: u32,
}

@group(0) @binding(0) var<storage, read> order: array<u32>;        // [k]
@group(0) @binding(1) var<storage, read> mask: array<u32>;         // [rows, words]
@group(0) @binding(2) var<storage, read_write> chosen: array<u32>; // [k, rows]
@group(0) @binding(3) var<uniform> params: Params;

fn kept(row: u32, column: u32) -> u32 {
  return (mask[row * params.words + (column >> 5u)] >> (column & 31u)) & 1u;
}

fn each(at: u32) {
  if (at >= params.k * params.rows) { return; }
  let row = at % params.rows;
  let column = order[at / params.rows];
  let stays = kept(row, column) == 1u;
  if (params.keep == 0u) {
    chosen[at] = select(GONE, 0u, stays) | ((column / params.group) << 8u);
    return;
  }
  var slot = column / params.of_ * params.keep;
  for (var before = column - column % params.of_; before < column; before++) { slot += kept(row, before); }
  chosen[at] = select(GONE | ABSENT, (slot / params.group) << 8u, stays);
}
