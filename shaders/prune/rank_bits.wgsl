// Bits of a word: which of its 32 keys are above a threshold, and which equal it. Columns past the end of the row are in neither.
struct Ranked { above: u32, equal: u32 }

fn ranked(row: u32, first: u32, threshold: u32) -> Ranked {
  var bits = Ranked(0u, 0u);
  for (var i = 0u; i < 32u; i += 4u) {
    if (first + i >= params.k) { break; }
    let keys = keys4(row, first + i);
    let above = select(vec4<u32>(0u), vec4<u32>(1u, 2u, 4u, 8u), keys > vec4<u32>(threshold));
    let equal = select(vec4<u32>(0u), vec4<u32>(1u, 2u, 4u, 8u), keys == vec4<u32>(threshold));
    bits.above |= (above.x | above.y | above.z | above.w) << i;
    bits.equal |= (equal.x | equal.y | equal.z | equal.w) << i;
  }
  let inside = 0xffffffffu >> (32u - min(params.k - first, 32u));
  return Ranked(bits.above & inside, bits.equal & inside);
}

// The first `count` bits that are set.
fn first_bits(bits: u32, count: u32) -> u32 {
  if (count >= countOneBits(bits)) { return bits; }
  var rest = bits;
  for (var i = 0u; i < count; i++) { rest &= rest - 1u; }
  return bits ^ rest;
}
