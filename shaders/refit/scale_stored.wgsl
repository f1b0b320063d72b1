// Multiplies stored scales by the factor that was fitted for them, rounded to their type: a thread for each word of the array. Of ROLE 0 are scales,
// of 1 offsets, of 2 zero points, which the scale multiplies, of 3 scales and offsets in turns.
// #include "../common/each.wgsl"
// #include "../common/float16.wgsl"
struct Params { rows: u32, units: u32, per_unit: u32, count: u32 }

@group(0) @binding(0) var<storage, read> change: array<f32>;       // [parts, units, rows]
@group(0) @binding(1) var<storage, read_write> stored: array<u32>; // [rows, units · per_unit]
@group(0) @binding(2) var<uniform> params: Params;

// 0: f32, 1: f16, 2: bf16.
override TYPE: u32 = 1;
override ROLE: u32 = 0;
override PARTS: u32 = 1;

fn factor(index: u32) -> f32 {
  let width = params.units * params.per_unit;
  let system = index % width / params.per_unit * params.rows + index / width;
  let scale = 1.0 + change[system];
  var offset = scale;
  if (PARTS == 2u) { offset += change[params.units * params.rows + system]; }
  // What is left of a scale that would vanish, turn or explode is the scale as it was: its system could not be solved.
  if (!(scale > 0.25 && scale < 4.0 && abs(offset) < 16.0)) { return 1.0; }
  if (ROLE == 0u || (ROLE == 3u && index % 2u == 0u)) { return scale; }
  return select(offset, offset / scale, ROLE == 2u);
}

fn half(bits: u32, index: u32) -> u32 {
  if (TYPE == 1u) { return f16_bits_saturated(bitcast<u32>(f16_value(bits) * factor(index))); }
  return bf16_bits_saturated(bitcast<u32>(bitcast<f32>(bits << 16u) * factor(index)));
}

fn each(word: u32) {
  if (TYPE == 0u) {
    if (word < params.count) { stored[word] = bitcast<u32>(bitcast<f32>(stored[word]) * factor(word)); }
    return;
  }
  if (2u * word >= params.count) { return; }
  let bits = stored[word];
  var result = half(bits & 0xffffu, 2u * word);
  if (2u * word + 1u < params.count) { result |= half(bits >> 16u, 2u * word + 1u) << 16u; }
  stored[word] = result;
}
