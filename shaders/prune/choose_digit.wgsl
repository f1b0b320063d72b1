// The digit at `shift` of the last key that is kept: digits are gone through from the largest until they hold enough keys.
// #include "selection.wgsl"
struct Params { shift: u32 }

@group(0) @binding(0) var<storage, read_write> selection: Selection;
@group(0) @binding(1) var<storage, read_write> totals: array<vec2<u32>>; // [DIGITS]
@group(0) @binding(2) var<uniform> params: Params;

const WORKGROUP = 64u;
const SPAN = DIGITS / WORKGROUP;
var<workgroup> sums: array<vec2<u32>, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(local_invocation_index) thread: u32) {
  var sum = vec2<u32>(0u);
  for (var i = 0u; i < SPAN; i++) { sum = add(sum, totals[SPAN * thread + i]); }
  sums[thread] = sum;
  workgroupBarrier();
  if (thread == 0u) {
    var rest = selection.left;
    var span = WORKGROUP - 1u;
    while (span > 0u && less(sums[span], rest)) {
      rest = subtract(rest, sums[span]);
      span--;
    }
    var digit = SPAN * span + SPAN - 1u;
    while (digit > SPAN * span && less(totals[digit], rest)) {
      rest = subtract(rest, totals[digit]);
      digit--;
    }
    selection = Selection(rest, totals[digit], selection.prefix | (digit << params.shift));
  }
  storageBarrier();
  workgroupBarrier();
  for (var i = 0u; i < SPAN; i++) { totals[SPAN * thread + i] = vec2<u32>(0u); }
}
