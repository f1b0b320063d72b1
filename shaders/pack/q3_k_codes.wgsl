// Codes of two bits and a third: bytes hold the two of four weights that are 32 apart, others the third of eight. The kernel declares codes and high.

fn clear_codes(index: u32) {
  for (var i = 0u; i < end_of(0u, 16u); i++) { codes[16u * index + i] = 0u; }
  for (var i = 0u; i < end_of(0u, 8u); i++) { high[8u * index + i] = 0u; }
}

fn write_codes(index: u32, j: u32, i: u32, packed: u32) {
  codes[16u * index + 8u * (j >> 3u) + 4u * (j & 1u) + i] |= (packed & 0x03030303u) << (2u * ((j >> 1u) & 3u));
  high[8u * index + 4u * (j & 1u) + i] |= ((packed >> 2u) & 0x01010101u) << (j >> 1u);
}
