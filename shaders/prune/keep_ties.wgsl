// Keeps the first ties of each tile of 64 words, as many as it has a share in.
// #include "../common/grid.wgsl"
struct Params { words: u32 }

@group(0) @binding(0) var<storage, read> ties: array<u32>;       // [words]
@group(0) @binding(1) var<storage, read> tiles: array<u32>;      // [words / TILE]
@group(0) @binding(2) var<storage, read_write> mask: array<u32>; // [words]
@group(0) @binding(3) var<uniform> params: Params;

const TILE = 64u;
var<workgroup> counts: array<u32, TILE>;

@compute @workgroup_size(TILE)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(num_workgroups) num_workgroups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let tile = workgroup_index(workgroup_id, num_workgroups);
  if (tile * TILE >= params.words) { return; }
  let word = tile * TILE + thread;
  var equal = 0u;
  if (word < params.words) { equal = ties[word]; }
  counts[thread] = countOneBits(equal);
  workgroupBarrier();
  var left = tiles[tile];
  for (var i = 0u; i < thread; i++) { left -= min(left, counts[i]); }
  var rest = equal;
  for (var i = 0u; i < min(left, counts[thread]); i++) { rest &= rest - 1u; }
  if (word < params.words) { mask[word] |= equal ^ rest; }
}
