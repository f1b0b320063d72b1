// A thread owns a super-block of 256 weights. The type defines
//   SUB                                                        weights of a sub-block
//   fn clear_codes(index: u32)                                 zeroes what the other adds bits to
//   fn write_codes(index: u32, j: u32, i: u32, codes: u32)     four codes, a byte each: 4i .. 4i + 3 of sub-block j
// #include "../common/each.wgsl"

// first + length, in a form that no compiler can count with.
fn end_of(first: u32, length: u32) -> u32 {
  return min(first + length, params.count);
}

fn each(index: u32) {
  if (index >= params.count / 256u) { return; }
  clear_codes(index);
  for (var vector = 0u; vector < end_of(0u, 64u); vector++) {
    write_codes(index, vector / (SUB / 4u), vector % (SUB / 4u), given[64u * index + vector]);
  }
}
