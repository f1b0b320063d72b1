// ggml's mxfp4: e = ⌊log2 max|w|⌋ − 2, biased; a thread owns four blocks, whose exponents make one word of `scales`.
// #include "float4.wgsl"
@group(0) @binding(0) var<storage, read_write> codes: array<u32>;
@group(0) @binding(1) var<storage, read_write> scales: array<u32>;
@group(0) @binding(2) var<storage, read_write> bad: atomic<u32>;
@group(0) @binding(3) var<storage, read> importance: array<vec4<f32>>;
@group(0) @binding(4) var<uniform> params: Params;

const GROUP = 32u;
// Exponents below this are subnormal values in the making: the block counts as zero (SMALLEST_EXPONENT in src/formats/float4.ts).
const SMALLEST_EXPONENT = 5u;

// Of the next, the largest value would be infinite.
const LARGEST_EXPONENT = 252u;
const TRIALS = 2u;

// One more, then one less.
fn trial_scale(rule: u32, t: u32) -> u32 {
  let e = rule + 1u - 2u * t;
  return select(0u, e, e >= SMALLEST_EXPONENT - 3u && e <= LARGEST_EXPONENT);
}

fn half_scale(byte: u32) -> f32 {
  return half_e8m0(byte);
}

// Quantizes one block and returns its exponent.
fn quantize_block(index: u32) -> u32 {
  let magnitude = load_block(GROUP * index);
  let exponent = magnitude >> 23u;
  let small = exponent < SMALLEST_EXPONENT;
  var e = select(exponent - 2u, 0u, small);
  if (SEARCH && !small) { e = search_scale(GROUP * index, e, magnitude); }
  let half = select(half_e8m0(e), 0.0, small);
  for (var i = 0u; i < 4u; i++) {
    codes[4u * index + i] = pack_nibbles(codes4(2u * i, half), codes4(2u * i + 1u, half));
  }
  return e;
}

fn each(thread: u32) {
  let blocks = params.count / GROUP;
  let index = 4u * thread;
  if (index >= blocks) { return; }
  var word = 0u;
  for (var i = 0u; i < min(4u, blocks - index); i++) { word |= quantize_block(index + i) << (i << 3u); }
  scales[index >> 2u] = word;
}
