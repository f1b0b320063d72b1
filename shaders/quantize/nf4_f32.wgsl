// NF4 of bitsandbytes: the scale of 64 weights is the largest magnitude, and weights are multiplied by its inverse; a thread owns such a group.
// #include "../common/each.wgsl"
// #include "../common/divide.wgsl"
// #include "source.wgsl"
// #include "pack.wgsl"
@group(0) @binding(0) var<storage, read_write> codes: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> scales: array<u32>;
@group(0) @binding(2) var<storage, read_write> bad: atomic<u32>;
@group(0) @binding(3) var<uniform> params: Params;

const GROUP = 64u;
const VECTORS = GROUP / 4u;
// Bits of 2^-80, below which all counts as zero, and of 2^64, from which on all is divided by that: the inverse stays normal.
const SMALLEST = 0x17800000u;
const LARGE = 0x5f800000u;

// The weights at hand: each is loaded once, because loads take most of the time that a software device compiles.
var<private> block: array<vec4<f32>, VECTORS>;

fn above(x: vec4<f32>, threshold: f32) -> vec4<f32> {
  return select(vec4<f32>(0.0), vec4<f32>(1.0), x > vec4<f32>(threshold));
}

// Codes of block[i], as f32: how many of the middles between levels are below.
fn codes4(i: u32, unit: f32, inverse: f32) -> vec4<f32> {
  let x = (block[i] * unit) * inverse;
  return above(x, -0.8480964004993439) + above(x, -0.6106329262256622) + above(x, -0.4599952697753906)
    + above(x, -0.33967943489551544) + above(x, -0.23460740596055984) + above(x, -0.13791173323988914)
    + above(x, -0.045525018125772476) + above(x, 0.03979014977812767) + above(x, 0.1202552504837513)
    + above(x, 0.2035212516784668) + above(x, 0.2920137718319893) + above(x, 0.3893125355243683)
    + above(x, 0.5016634166240692) + above(x, 0.6427869200706482) + above(x, 0.8614784181118011);
}

fn each(index: u32) {
  if (index >= params.count / GROUP) { return; }
  var largest = vec4<u32>(0u);
  for (var i = 0u; i < VECTORS; i++) {
    block[i] = load4_aligned(0u, index * GROUP + 4u * i);
    largest = max(largest, bitcast<vec4<u32>>(block[i]) & vec4<u32>(0x7fffffffu));
  }
  var magnitude = max(max(largest.x, largest.y), max(largest.z, largest.w));
  if (magnitude >= INFINITY) { report(index * GROUP, GROUP); }
  magnitude = select(magnitude, 0u, magnitude < SMALLEST || magnitude >= INFINITY);
  let large = magnitude >= LARGE;
  let unit = select(1.0, 0x1p-64, large);
  let divided = select(magnitude, magnitude - (64u << 23u), large);
  let inverse = select(bitcast<f32>(inverse_bits(max(divided, SMALLEST))), 0.0, magnitude == 0u);
  for (var i = 0u; i < end_of(0u, 2u); i++) {
    let first = 8u * i;
    codes[2u * index + i] = vec4<u32>(
      pack_nibbles(codes4(first, unit, inverse), codes4(first + 1u, unit, inverse)),
      pack_nibbles(codes4(first + 2u, unit, inverse), codes4(first + 3u, unit, inverse)),
      pack_nibbles(codes4(first + 4u, unit, inverse), codes4(first + 5u, unit, inverse)),
      pack_nibbles(codes4(first + 6u, unit, inverse), codes4(first + 7u, unit, inverse)),
    );
  }
  scales[index] = magnitude;
}
