// Adds the counts of one matrix to those of all before it.
// #include "../common/each.wgsl"
// #include "selection.wgsl"
@group(0) @binding(0) var<storage, read_write> totals: array<vec2<u32>>; // [DIGITS]
@group(0) @binding(1) var<storage, read_write> counts: array<u32>;       // [DIGITS]

fn each(thread: u32) {
  if (thread >= DIGITS) { return; }
  totals[thread] = add(totals[thread], vec2<u32>(counts[thread], 0u));
  counts[thread] = 0u;
}
