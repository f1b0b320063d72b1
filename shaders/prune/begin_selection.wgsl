// Begins a selection that keeps `keep` keys.
// #include "../common/each.wgsl"
// #include "selection.wgsl"
struct Params { keep: vec2<u32> }

@group(0) @binding(0) var<storage, read_write> selection: Selection;
@group(0) @binding(1) var<storage, read_write> totals: array<vec2<u32>>; // [DIGITS]
@group(0) @binding(2) var<storage, read_write> counts: array<u32>;       // [DIGITS]
@group(0) @binding(3) var<uniform> params: Params;

fn each(thread: u32) {
  if (thread >= DIGITS) { return; }
  totals[thread] = vec2<u32>(0u);
  counts[thread] = 0u;
  if (thread == 0u) { selection = Selection(params.keep, vec2<u32>(0u), 0u); }
}
