// Where a packed matrix has what (src/kernels/sparse-layout.ts): for each group of OF columns KEEP slots, for each band of BAND rows the columns that its
// slots stand for, BITS bits each.
override KEEP: u32 = 2;
override OF: u32 = 4;
override BAND: u32 = 1;
override BITS: u32 = 2; // 1, 2 or 4
const CHUNK_SLOTS = 16u;

@group(0) @binding(1) var<storage, read> columns: array<u32>; // [bands, words of slots]

// Places within their groups of sixteen slots from `slot` on, BITS bits each, the first lowest.
fn places(row: u32, slot: u32) -> vec2<u32> {
  let at = row / BAND * params.words + slot * BITS / 32u;
  if (BITS == 4u) { return vec2<u32>(columns[at], columns[at + 1u]); }
  if (BITS == 2u) { return vec2<u32>(columns[at], 0u); }
  return vec2<u32>(columns[at] >> (slot & 16u), 0u);
}

// The place of slot `i` of sixteen.
fn place_of(word: vec2<u32>, i: u32) -> u32 {
  if (BITS == 4u) { return (select(word.x, word.y, i >= 8u) >> (4u * (i & 7u))) & 15u; }
  return (word.x >> (BITS * i)) & ((1u << BITS) - 1u);
}
