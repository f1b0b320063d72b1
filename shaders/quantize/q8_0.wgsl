// ggml's q8_0: d = max|w| / 127, code = w / d to nearest, halves away from zero.
// #include "scale_pairs.wgsl"
// #include "source.wgsl"
// #include "pack.wgsl"
// #include "ggml_step.wgsl"
@group(0) @binding(0) var<storage, read_write> codes: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> scales: array<u32>;
@group(0) @binding(2) var<storage, read_write> bad: atomic<u32>;
@group(0) @binding(3) var<uniform> params: Params;

const GROUP = 32u;

// Codes of four weights: |w| / d + ½ cut off, with its sign. The largest f32 below ½ stands for ½: with ½ itself, the
// sum would round up from just below a half. The bound keeps saturated blocks in range, and the product and the sum
// two operations: fused into one they round differently.
fn codes4(w: vec4<f32>, inverse: f32) -> u32 {
  let magnitude = floor(min(abs(w) * inverse, vec4<f32>(127.0)) + vec4<f32>(0x1.fffffep-2));
  let sign = bitcast<vec4<u32>>(w) & vec4<u32>(0x80000000u);
  return pack_signed_bytes(bitcast<vec4<f32>>(bitcast<vec4<u32>>(magnitude) | sign));
}

// Bits of a / 127, as divide_bits(a, bits of 127) gives them for the bits of a positive normal number, in a third of the time: 128t + b is
// 127t + (t + b), so that shifts and sums divide exactly.
fn divide_by_127(a: u32) -> u32 {
  let mantissa = (a & 0x7fffffu) | 0x800000u;
  // The quotient has 25 bits: 24 and a guard bit. Of the mantissa of 127, 127 · 2^17, it is at least one half.
  let less = select(0u, 1u, mantissa < (127u << 17u));
  let x = mantissa << (7u + less);
  let t0 = x >> 7u;
  let r0 = (x & 127u) + t0;
  let t1 = r0 >> 7u;
  let r1 = (r0 & 127u) + t1;
  let t2 = r1 >> 7u;
  let r2 = (r1 & 127u) + t2;
  let t3 = r2 >> 7u;
  let r3 = (r2 & 127u) + t3;
  let t4 = r3 >> 7u;
  let r4 = (r3 & 127u) + t4;
  // At most 128 is left.
  let over = select(0u, 1u, r4 >= 127u);
  let quotient = t0 + t1 + t2 + t3 + t4 + over;
  let rest = r4 - 127u * over;
  let rounded = (quotient >> 1u) + ((quotient & 1u) & (select(0u, 1u, rest != 0u) | ((quotient >> 1u) & 1u)));
  let exponent = i32(a >> 23u) - 6 - i32(less);
  return select((u32(exponent) << 23u) + (rounded - 0x800000u), 0u, exponent < 1);
}

// Quantizes one block and returns the f16 bits of its scale.
fn quantize_block(block: u32) -> u32 {
  let first = block * GROUP;
  var w: array<vec4<f32>, 8>;
  var largest = vec4<u32>(0u);
  for (var i = 0u; i < 8u; i++) {
    w[i] = load4_aligned(0u, first + 4u * i);
    largest = max(largest, bitcast<vec4<u32>>(w[i]) & vec4<u32>(0x7fffffffu));
  }
  let magnitude = max(max(largest.x, largest.y), max(largest.z, largest.w));
  if (magnitude >= INFINITY) { report(first, 32u); }
  // A subnormal maximum has a step that counts as zero.
  let step = select(saturated_step(divide_by_127(magnitude)), 0u, magnitude < 0x800000u);
  let inverse = inverse_step(step, SMALLEST_STEP);
  codes[2u * block] = vec4<u32>(codes4(w[0], inverse), codes4(w[1], inverse), codes4(w[2], inverse), codes4(w[3], inverse));
  codes[2u * block + 1u] = vec4<u32>(codes4(w[4], inverse), codes4(w[5], inverse), codes4(w[6], inverse), codes4(w[7], inverse));
  return f16_bits(step);
}
