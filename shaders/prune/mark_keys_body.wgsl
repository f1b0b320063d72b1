// Marks the keys above the threshold of a selection, and those that equal it, and counts the latter in tiles of 64 words. The kernel gives
// fn load(row, column).
// #include "../common/grid.wgsl"
// #include "keys.wgsl"
// #include "selection.wgsl"
// #include "rank_bits.wgsl"
struct Params { rows: u32, k: u32 }

@group(0) @binding(2) var<storage, read> selection: Selection;
@group(0) @binding(3) var<storage, read_write> mask: array<u32>;  // [rows, row_words()]
@group(0) @binding(4) var<storage, read_write> ties: array<u32>;  // [rows, row_words()]
@group(0) @binding(5) var<storage, read_write> tiles: array<u32>; // [words / TILE]
@group(0) @binding(6) var<uniform> params: Params;

const TILE = 64u;
var<workgroup> count: atomic<u32>;

@compute @workgroup_size(TILE)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(num_workgroups) num_workgroups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let tile = workgroup_index(workgroup_id, num_workgroups);
  let words = row_words();
  let word = tile * TILE + thread;
  let row = word / words;
  if (row < params.rows) {
    let bits = ranked(row, 32u * (word % words), selection.prefix);
    mask[word] = bits.above;
    ties[word] = bits.equal;
    if (bits.equal != 0u) { atomicAdd(&count, countOneBits(bits.equal)); }
  }
  workgroupBarrier();
  if (thread == 0u && tile * TILE < params.rows * words) { tiles[tile] = atomicLoad(&count); }
}
