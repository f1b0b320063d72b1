// q3_k: codes of two bits and a third, sub-blocks of 16 with scales of six bits.
@group(0) @binding(0) var<storage, read_write> codes: array<u32>;
@group(0) @binding(1) var<storage, read_write> scales: array<u32>;
@group(0) @binding(2) var<storage, read_write> multiples: array<u32>;
@group(0) @binding(3) var<storage, read_write> high: array<u32>;
@group(0) @binding(4) var<storage, read_write> bad: atomic<u32>;
@group(0) @binding(5) var<uniform> params: Params;

const HALF = 4.0;
const REACH = 32.0;

// #include "k_signed.wgsl"

fn clear(index: u32) {
  for (var i = 0u; i < end_of(0u, 16u); i++) { codes[16u * index + i] = 0u; }
  for (var i = 0u; i < end_of(0u, 8u); i++) { high[8u * index + i] = 0u; }
  for (var i = 0u; i < end_of(0u, 3u); i++) { multiples[3u * index + i] = 0u; }
}

fn write_scale(index: u32, j: u32, scale: u32) {
  let shift = 8u * (j & 3u);
  multiples[3u * index + ((j >> 2u) & 1u)] |= (scale & 15u) << (shift + 4u * (j >> 3u));
  multiples[3u * index + 2u] |= (scale >> 4u) << (shift + 2u * (j >> 2u));
}

fn write_codes(index: u32, j: u32, i: u32, packed: u32) {
  codes[16u * index + 8u * (j >> 3u) + 4u * (j & 1u) + i] |= (packed & 0x03030303u) << (2u * ((j >> 1u) & 3u));
  high[8u * index + 4u * (j & 1u) + i] |= ((packed >> 2u) & 0x01010101u) << (j >> 1u);
}
