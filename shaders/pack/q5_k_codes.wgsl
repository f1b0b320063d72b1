// Codes of four bits and a fifth: bytes hold the four of two weights that are 32 apart, others the fifth of eight. The kernel declares codes and high.

fn clear_codes(index: u32) {
  for (var i = 0u; i < end_of(0u, 32u); i++) { codes[32u * index + i] = 0u; }
  for (var i = 0u; i < end_of(0u, 8u); i++) { high[8u * index + i] = 0u; }
}

fn write_codes(index: u32, j: u32, i: u32, packed: u32) {
  codes[32u * index + 8u * (j >> 1u) + i] |= (packed & 0x0f0f0f0fu) << (4u * (j & 1u));
  high[8u * index + i] |= ((packed >> 4u) & 0x01010101u) << j;
}
