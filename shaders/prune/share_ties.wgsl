// How many of its ties each tile keeps: the first of all, until none is left to keep. One workgroup; a thread has tiles that follow each other.
// #include "selection.wgsl"
struct Params { tiles: u32 }

@group(0) @binding(0) var<storage, read_write> selection: Selection;
@group(0) @binding(1) var<storage, read_write> tiles: array<u32>; // [tiles]: ties, then those that are kept
@group(0) @binding(2) var<uniform> params: Params;

const WORKGROUP = 64u;
var<workgroup> sums: array<u32, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(local_invocation_index) thread: u32) {
  let span = (params.tiles + WORKGROUP - 1u) / WORKGROUP;
  let first = min(span * thread, params.tiles);
  let end = min(first + span, params.tiles);
  var sum = 0u;
  for (var i = first; i < end; i++) { sum += tiles[i]; }
  sums[thread] = sum;
  let left = selection.left;
  storageBarrier();
  workgroupBarrier();
  // A matrix has fewer weights than 32 bits can count.
  var rest = select(left.x, 0xffffffffu, left.y > 0u);
  for (var i = 0u; i < thread; i++) { rest -= min(rest, sums[i]); }
  for (var i = first; i < end; i++) {
    let kept = min(rest, tiles[i]);
    tiles[i] = kept;
    rest -= kept;
  }
  if (thread == WORKGROUP - 1u) {
    var all = 0u;
    for (var i = 0u; i < WORKGROUP; i++) { all += sums[i]; }
    let taken = select(min(left.x, all), all, left.y > 0u);
    selection.left = subtract(left, vec2<u32>(taken, 0u));
  }
}
