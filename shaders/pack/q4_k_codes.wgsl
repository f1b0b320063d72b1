// Codes of four bits: bytes hold those of two weights that are 32 apart. The kernel declares codes.

fn clear_codes(index: u32) {
  for (var i = 0u; i < end_of(0u, 32u); i++) { codes[32u * index + i] = 0u; }
}

fn write_codes(index: u32, j: u32, i: u32, packed: u32) {
  codes[32u * index + 8u * (j >> 1u) + i] |= (packed) << (4u * (j & 1u));
}
