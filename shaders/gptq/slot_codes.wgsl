// Codes chosen column by column, [k, rows] in the order of `place`, as bytes of the slots of packed rows, [rows, slots]: a thread makes a word. A slot that no
// weight fills gets the code of what is nearest to 0.
// #include "../common/each.wgsl"
struct Params { rows: u32, k: u32, words: u32, slots: u32, keep: u32, of_: u32, group: u32, levels: u32 }

@group(0) @binding(0) var<storage, read> chosen: array<u32>;       // [k, rows]
@group(0) @binding(1) var<storage, read> place: array<u32>;        // [k]: the row of `chosen` that a column is
@group(0) @binding(2) var<storage, read> mask: array<u32>;         // [rows, words]
@group(0) @binding(3) var<storage, read> grid: array<vec2<f32>>;   // [rows, slots / group]: scale, offset
@group(0) @binding(4) var<storage, read> levels: array<f32>;       // by code
@group(0) @binding(5) var<storage, read_write> codes: array<u32>;
@group(0) @binding(6) var<uniform> params: Params;

// Of a slot of a row.
fn code_of(row: u32, slot: u32) -> u32 {
  let first = slot / params.keep * params.of_;
  var left = slot % params.keep;
  for (var column = first; column < min(first + params.of_, params.k); column++) {
    if (((mask[row * params.words + (column >> 5u)] >> (column & 31u)) & 1u) == 0u) { continue; }
    if (left == 0u) { return chosen[place[column] * params.rows + row] & 0xffu; }
    left--;
  }
  let pair = grid[(row * params.slots + slot) / params.group];
  var best = 0u;
  var least = abs(pair.x * levels[0] + pair.y);
  for (var code = 1u; code < params.levels; code++) {
    let size = abs(pair.x * levels[code] + pair.y);
    if (size < least) {
      least = size;
      best = code;
    }
  }
  return best;
}

fn each(word: u32) {
  let count = params.rows * params.slots;
  if (4u * word >= count) { return; }
  var packed = 0u;
  for (var i = 0u; i < min(4u, count - 4u * word); i++) {
    let at = 4u * word + i;
    packed |= code_of(at / params.slots, at % params.slots) << (8u * i);
  }
  codes[word] = packed;
}
