// q6_k: codes of four bits and two more, sub-blocks of 16 with scales of eight bits.
@group(0) @binding(0) var<storage, read_write> codes: array<u32>;
@group(0) @binding(1) var<storage, read_write> scales: array<u32>;
@group(0) @binding(2) var<storage, read_write> multiples: array<u32>;
@group(0) @binding(3) var<storage, read_write> high: array<u32>;
@group(0) @binding(4) var<storage, read_write> bad: atomic<u32>;
@group(0) @binding(5) var<uniform> params: Params;

const HALF = 32.0;
const REACH = 128.0;

// #include "k_signed.wgsl"

fn clear(index: u32) {
  for (var i = 0u; i < end_of(0u, 32u); i++) { codes[32u * index + i] = 0u; }
  for (var i = 0u; i < end_of(0u, 16u); i++) { high[16u * index + i] = 0u; }
  for (var i = 0u; i < end_of(0u, 4u); i++) { multiples[4u * index + i] = 0u; }
}

fn write_scale(index: u32, j: u32, scale: u32) {
  multiples[4u * index + (j >> 2u)] |= ((scale ^ 128u) & 0xffu) << (8u * (j & 3u));
}

// Low bits of weights that are 64 apart share a byte, high ones of weights that are 32 apart.
fn write_codes(index: u32, j: u32, i: u32, packed: u32) {
  codes[32u * index + 16u * (j >> 3u) + 4u * (j & 3u) + i] |= (packed & 0x0f0f0f0fu) << (4u * ((j >> 2u) & 1u));
  high[16u * index + 8u * (j >> 3u) + 4u * (j & 1u) + i] |= ((packed >> 4u) & 0x03030303u) << (2u * ((j >> 1u) & 3u));
}
