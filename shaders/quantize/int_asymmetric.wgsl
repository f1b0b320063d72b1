// Asymmetric integer groups: with low = min(w, 0) and high = max(w, 0), scale = f16((high − low) / (2^BITS − 1)),
// zero = round(−low / scale), code = round(w / scale) + zero, both clamped. A thread owns four groups, whose zeros make
// one word and whose scales make two.
// #include "../common/grid.wgsl"
// #include "../common/float16.wgsl"
// #include "source.wgsl"
// #include "extremes.wgsl"
// #include "rounding.wgsl"
// #include "pack.wgsl"
@group(0) @binding(0) var<storage, read_write> codes: array<u32>;
@group(0) @binding(1) var<storage, read_write> scales: array<u32>;
@group(0) @binding(2) var<storage, read_write> zeros: array<u32>;
@group(0) @binding(3) var<storage, read_write> bad: atomic<u32>;
@group(0) @binding(4) var<uniform> params: Params;

override WORKGROUP: u32 = 64;
override BITS: u32 = 4;
override GROUP: u32 = 32;
// Words that a group's codes take.
override WORDS: u32 = GROUP * BITS / 32;

// Beyond this any scale saturates: a bound for both ends keeps their difference finite.
const HUGE = 0x1p100;

struct Group { scale: u32, zero: u32 }

fn codes4(at: u32, scale: f32, inverse: f32, zero: f32) -> vec4<f32> {
  let levels = f32((1u << BITS) - 1u);
  let nearest = rounded_quotient4(load4_aligned(0u, at), scale, inverse, BITS);
  return clamp(nearest + vec4<f32>(zero), vec4<f32>(0.0), vec4<f32>(levels));
}

fn word(at: u32, scale: f32, inverse: f32, zero: f32) -> u32 {
  if (BITS == 8u) { return pack_bytes(codes4(at, scale, inverse, zero)); }
  return pack_nibbles(codes4(at, scale, inverse, zero), codes4(at + 4u, scale, inverse, zero));
}

// Quantizes one group; returns the f16 bits of its scale and its zero point.
fn quantize_group(group: u32) -> Group {
  let first = group * GROUP;
  let bounds = extremes(first, GROUP);
  if (u32(max(bounds.x, bounds.y)) >= INFINITY) { report(first, GROUP); }
  let levels = f32((1u << BITS) - 1u);
  let range = min(bitcast<f32>(bounds.x), HUGE) + min(bitcast<f32>(bounds.y), HUGE);
  let stored = f16_bits_saturated(bitcast<u32>(divide(range, levels)));
  if (stored == 0u) {
    for (var i = 0u; i < WORDS; i++) {
      codes[group * WORDS + i] = 0u;
    }
    return Group(0u, 0u);
  }
  let scale = f16_value(stored);
  let zero = clamp(round(divide(bitcast<f32>(bounds.y), scale)), 0.0, levels);
  let inverse = 1.0 / scale;
  for (var i = 0u; i < WORDS; i++) {
    codes[group * WORDS + i] = word(first + 32u / BITS * i, scale, inverse, zero);
  }
  return Group(stored, u32(zero));
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
  @builtin(num_workgroups) num_workgroups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let groups = params.count / GROUP;
  let group = 4u * (workgroup_index(workgroup_id, num_workgroups) * WORKGROUP + thread);
  if (group >= groups) { return; }
  var pairs = vec2<u32>(0u);
  var four = 0u;
  for (var i = 0u; i < min(4u, groups - group); i++) {
    let one = quantize_group(group + i);
    pairs[i >> 1u] |= one.scale << ((i & 1u) << 4u);
    four |= one.zero << (i << 3u);
  }
  zeros[group >> 2u] = four;
  scales[group >> 1u] = pairs.x;
  if (group + 2u < groups) { scales[(group >> 1u) + 1u] = pairs.y; }
}
