// Codes of two bits: bytes hold those of four weights that are 32 apart. The kernel declares codes.

fn clear_codes(index: u32) {
  for (var i = 0u; i < end_of(0u, 16u); i++) { codes[16u * index + i] = 0u; }
}

fn write_codes(index: u32, j: u32, i: u32, packed: u32) {
  codes[16u * index + 8u * (j >> 3u) + 4u * (j & 1u) + i] |= packed << (2u * ((j >> 1u) & 3u));
}
