// Codes of four bits and two more. The kernel declares codes and high.

fn clear_codes(index: u32) {
  for (var i = 0u; i < end_of(0u, 32u); i++) { codes[32u * index + i] = 0u; }
  for (var i = 0u; i < end_of(0u, 16u); i++) { high[16u * index + i] = 0u; }
}

// Low bits of weights that are 64 apart share a byte, high ones of weights that are 32 apart.
fn write_codes(index: u32, j: u32, i: u32, packed: u32) {
  codes[32u * index + 16u * (j >> 3u) + 4u * (j & 3u) + i] |= (packed & 0x0f0f0f0fu) << (4u * ((j >> 2u) & 1u));
  high[16u * index + 8u * (j >> 3u) + 4u * (j & 1u) + i] |= ((packed >> 4u) & 0x03030303u) << (2u * ((j >> 1u) & 3u));
}
