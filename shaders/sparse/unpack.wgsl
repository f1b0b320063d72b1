// The matrix that a packed one stands for, in f32; a thread has a weight. Of slots that name the same column the first counts: those behind are filled up.
// #include "../common/each.wgsl"
struct Params { rows: u32, k: u32, slots: u32, keep: u32, group: u32, band: u32, bits: u32 }

@group(0) @binding(0) var<storage, read> columns: array<u32>;      // [bands, words of slots]
@group(0) @binding(1) var<storage, read_write> weights: array<f32>; // [rows, k]
@group(0) @binding(2) var<uniform> params: Params;

fn row_length() -> u32 { return params.slots; }

fn each(thread: u32) {
  if (thread >= params.rows * params.k) { return; }
  let row = thread / params.k;
  let column = thread % params.k;
  let words = (params.slots * params.bits + 31u) >> 5u;
  let first = column / params.group * params.keep;
  let word_slots = 32u / params.bits;
  let wanted = column % params.group;
  var value = 0.0;
  for (var i = 0u; i < params.keep; i++) {
    let slot = first + i;
    let word = columns[row / params.band * words + slot / word_slots];
    if (((word >> (slot % word_slots * params.bits)) & ((1u << params.bits) - 1u)) == wanted) {
      value = load4_aligned(row, slot & ~3u)[slot & 3u];
      break;
    }
  }
  weights[thread] = value;
}
