// The weights that a mask keeps, and which columns they stood in. A thread has a word of the columns of a band, and the values of its slots.
// #include "../common/each.wgsl"
// #include "../common/float16.wgsl"
struct Params { rows: u32, k: u32, slots: u32, keep: u32, group: u32, band: u32, bits: u32 }

@group(0) @binding(0) var<storage, read> mask: array<u32>;           // [rows, words of k bits]: the first row of a band counts
@group(0) @binding(1) var<storage, read> weights: array<u32>;        // [rows, k]
@group(0) @binding(2) var<storage, read_write> values: array<u32>;   // [rows, slots]
@group(0) @binding(3) var<storage, read_write> columns: array<u32>;  // [bands, words of slots]
@group(0) @binding(4) var<uniform> params: Params;

override FROM: u32 = 0;       // 0: f32, 1: f16, 2: bf16
override HALVES: bool = false; // values in f16, two in a word

// The f32 bits of a weight.
fn weight(row: u32, column: u32) -> u32 {
  let at = row * params.k + column;
  if (FROM == 0u) { return weights[at]; }
  let half = (weights[at >> 1u] >> (16u * (at & 1u))) & 0xffffu;
  if (FROM == 1u) { return bitcast<u32>(f16_value(half)); }
  return half << 16u;
}

// Which columns of a group are kept.
fn kept_of(row: u32, group: u32) -> u32 {
  let first = group * params.group;
  if (first >= params.k) { return 0u; }
  let words = (params.k + 31u) >> 5u;
  let at = row * words + (first >> 5u);
  let shift = first & 31u;
  let width = min(params.group, params.k - first);
  var bits = mask[at] >> shift;
  if (shift + width > 32u) { bits |= mask[at + 1u] << (32u - shift); }
  return bits & ((1u << width) - 1u);
}

fn each(thread: u32) {
  let words = (params.slots * params.bits + 31u) >> 5u;
  let band = thread / words;
  let first_row = band * params.band;
  if (first_row >= params.rows) { return; }
  let end_row = min(first_row + params.band, params.rows);
  let word_slots = 32u / params.bits;
  let first = (thread % words) * word_slots;
  let end = min(first + word_slots, params.slots);
  var group = first / params.keep;
  var used = first % params.keep;
  var kept = kept_of(first_row, group);
  for (var i = 0u; i < used; i++) { kept &= kept - 1u; }
  var word = 0u;
  var even_filled = false;
  var even_column = 0u;
  for (var slot = first; slot < end; slot++) {
    if (used == params.keep) {
      used = 0u;
      group++;
      kept = kept_of(first_row, group);
    }
    let filled = kept != 0u;
    let place = select(0u, firstTrailingBit(kept), filled);
    let column = group * params.group + place;
    word |= place << ((slot - first) * params.bits);
    kept &= kept - 1u;
    used++;
    if (!HALVES) {
      for (var row = first_row; row < end_row; row++) {
        var bits = 0u;
        if (filled) { bits = weight(row, column); }
        values[row * params.slots + slot] = bits;
      }
    } else if ((slot & 1u) == 1u) {
      for (var row = first_row; row < end_row; row++) {
        var bits = 0u;
        if (even_filled) { bits = f16_bits_saturated(weight(row, even_column)); }
        if (filled) { bits |= f16_bits_saturated(weight(row, column)) << 16u; }
        values[(row * params.slots + slot) >> 1u] = bits;
      }
    }
    even_filled = filled;
    even_column = column;
  }
  columns[thread] = word;
}
