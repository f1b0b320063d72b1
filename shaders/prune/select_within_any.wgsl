// A mask that keeps `keep` of each GROUP weights next to each other in a row, for any group up to 16 and rows of any length; the last group of a row may be
// shorter. A thread makes a word, and chooses in the groups that reach into it from its neighbours, too.
// #include "../common/each.wgsl"
// #include "load_any.wgsl"
// #include "keys.wgsl"
// #include "kept_of_group.wgsl"
struct Params { rows: u32, k: u32, keep: u32 }

@group(0) @binding(2) var<storage, read_write> mask: array<u32>; // [rows, row_words()]
@group(0) @binding(3) var<uniform> params: Params;

fn each(thread: u32) {
  let words = row_words();
  let row = thread / words;
  if (row >= params.rows) { return; }
  let first = 32u * (thread % words);
  let end = min(first + 32u, params.k);
  var bits = 0u;
  for (var column = first - first % GROUP; column < end; column += GROUP) {
    // Said explicitly: some drivers keep what the last group left.
    var keys = Group();
    // #repeat i 4
    if (4u * $iu < GROUP && column + 4u * $iu < params.k) {
      let four$i = keys4(row, column + 4u * $iu);
      keys[4 * $i] = four$i.x;
      if (4u * $iu + 1u < GROUP) { keys[4 * $i + 1] = four$i.y; }
      if (4u * $iu + 2u < GROUP) { keys[4 * $i + 2] = four$i.z; }
      if (4u * $iu + 3u < GROUP) { keys[4 * $i + 3] = four$i.w; }
    }
    // #end
    let kept = kept_of(keys, params.keep);
    bits |= select(kept >> ((first - column) & 31u), kept << ((column - first) & 31u), column >= first);
  }
  mask[thread] = bits & (0xffffffffu >> (32u - (end - first)));
}
