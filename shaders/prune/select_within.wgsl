// A mask that keeps `keep` of each GROUP weights next to each other in a row, GROUP being 2, 4, 8 or 16 and rows a multiple of 4. A thread makes a word.
// #include "../common/each.wgsl"
// #include "load_aligned.wgsl"
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
  var bits = 0u;
  let end = min(params.k - first, 32u);
  for (var at = 0u; at < end; at += max(GROUP, 4u)) {
    let column = first + at;
    // Said explicitly: some drivers keep what the last group left.
    var keys = Group();
    // #repeat i 4
    if (4u * $iu < GROUP && column + 4u * $iu < params.k) {
      let four$i = keys4(row, column + 4u * $iu);
      keys[4 * $i] = four$i.x;
      keys[4 * $i + 1] = four$i.y;
      keys[4 * $i + 2] = four$i.z;
      keys[4 * $i + 3] = four$i.w;
    }
    // #end
    bits |= kept_of(keys, params.keep) << at;
    if (GROUP == 2u) {
      keys[0] = keys[2];
      keys[1] = keys[3];
      bits |= kept_of(keys, params.keep) << (at + 2u);
    }
  }
  // Where the row ends within the word, what lies behind is no part of it.
  mask[thread] = bits & (0xffffffffu >> (32u - end));
}
