// Counts the digits at `shift` of those keys that begin with the prefix of a selection; a workgroup counts `turns` times 128 words of the mask by itself
// first. The kernel gives fn load(row, column).
// #include "../common/grid.wgsl"
// #include "keys.wgsl"
// #include "selection.wgsl"
struct Params { rows: u32, k: u32, shift: u32, digit_bits: u32, turns: u32 }

@group(0) @binding(2) var<storage, read> selection: Selection;
@group(0) @binding(3) var<storage, read_write> counts: array<atomic<u32>>; // [DIGITS]
@group(0) @binding(4) var<uniform> params: Params;

const WORKGROUP = 128u;
var<workgroup> bins: array<atomic<u32>, DIGITS>;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(num_workgroups) num_workgroups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let above = params.shift + params.digit_bits;
  let wanted = selection.prefix >> above;
  let digits = (1u << params.digit_bits) - 1u;
  let words = row_words();
  let start = workgroup_index(workgroup_id, num_workgroups) * params.turns;
  for (var turn = 0u; turn < params.turns; turn++) {
    let word = (start + turn) * WORKGROUP + thread;
    let row = word / words;
    if (row >= params.rows) { break; }
    let first = 32u * (word % words);
    for (var column = first; column < min(first + 32u, params.k); column += 4u) {
      let keys = keys4(row, column);
      // #repeat i 4
      if (column + $iu < params.k && (keys[$i] >> above) == wanted) { atomicAdd(&bins[(keys[$i] >> params.shift) & digits], 1u); }
      // #end
    }
  }
  workgroupBarrier();
  for (var i = thread; i < DIGITS; i += WORKGROUP) {
    let count = atomicLoad(&bins[i]);
    if (count > 0u) { atomicAdd(&counts[i], count); }
  }
}
