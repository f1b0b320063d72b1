// A mask that keeps the `keep` largest keys of each row, of equal ones the first: a radix select in workgroup memory, eight bits at a time; a workgroup has
// a row. The kernel gives fn load(row, column).
// #include "../common/grid.wgsl"
// #include "keys.wgsl"
// #include "rank_bits.wgsl"
struct Params { rows: u32, k: u32, keep: u32 }

@group(0) @binding(2) var<storage, read_write> mask: array<u32>; // [rows, row_words()]
@group(0) @binding(3) var<uniform> params: Params;

const WORKGROUP = 64u;
const BINS = 256u;
const SPAN = BINS / WORKGROUP;

var<workgroup> bins: array<atomic<u32>, BINS>;
var<workgroup> sums: array<u32, WORKGROUP>;
var<workgroup> prefix: u32;
var<workgroup> left: u32;
var<workgroup> equal: u32;

fn count_digits(row: u32, thread: u32, shift: u32) {
  for (var i = thread; i < BINS; i += WORKGROUP) { atomicStore(&bins[i], 0u); }
  workgroupBarrier();
  // In two steps: a shift by 32 is none.
  let wanted = (prefix >> shift) >> 8u;
  for (var column = 4u * thread; column < params.k; column += 4u * WORKGROUP) {
    let keys = keys4(row, column);
    for (var i = 0u; i < 4u; i++) {
      let digits = keys[i] >> shift;
      if (column + i < params.k && (digits >> 8u) == wanted) { atomicAdd(&bins[digits & 0xffu], 1u); }
    }
  }
  workgroupBarrier();
  var sum = 0u;
  for (var i = 0u; i < SPAN; i++) { sum += atomicLoad(&bins[SPAN * thread + i]); }
  sums[thread] = sum;
  workgroupBarrier();
}

// The digit that holds the last key to be kept, and how many with it are.
fn choose_digit(shift: u32) {
  var rest = left;
  var span = WORKGROUP - 1u;
  while (span > 0u && sums[span] < rest) { rest -= sums[span]; span--; }
  var bin = SPAN * span + SPAN - 1u;
  while (bin > SPAN * span && atomicLoad(&bins[bin]) < rest) { rest -= atomicLoad(&bins[bin]); bin--; }
  prefix |= bin << shift;
  left = rest;
  equal = atomicLoad(&bins[bin]);
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(num_workgroups) num_workgroups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let row = workgroup_index(workgroup_id, num_workgroups);
  if (row >= params.rows) { return; }
  if (thread == 0u) {
    prefix = 0u;
    left = params.keep;
  }
  workgroupBarrier();
  for (var turn = 0u; turn < 4u; turn++) {
    let shift = 24u - 8u * turn;
    count_digits(row, thread, shift);
    if (thread == 0u) { choose_digit(shift); }
    workgroupBarrier();
  }
  let threshold = workgroupUniformLoad(&prefix);
  let ties = workgroupUniformLoad(&left);
  let all = ties == workgroupUniformLoad(&equal);
  let words = row_words();
  var before = 0u;
  for (var start = 0u; start < words; start += WORKGROUP) {
    let word = start + thread;
    var bits = Ranked(0u, 0u);
    if (word < words) { bits = ranked(row, 32u * word, threshold); }
    var take = bits.equal;
    if (!all) {
      sums[thread] = countOneBits(bits.equal);
      workgroupBarrier();
      var mine = before;
      for (var i = 0u; i < WORKGROUP; i++) {
        if (i < thread) { mine += sums[i]; }
        before += sums[i];
      }
      take = first_bits(bits.equal, ties - min(ties, mine));
      workgroupBarrier();
    }
    if (word < words) { mask[row * words + word] = bits.above | take; }
  }
}
