// The mask of weights from that of the blocks that they are in. A thread makes a word.
// #include "../common/each.wgsl"
struct Params { rows: u32, k: u32, band: u32, width: u32 }

@group(0) @binding(0) var<storage, read> blocks: array<u32>;     // [rows / band, words of k / width bits]
@group(0) @binding(1) var<storage, read_write> mask: array<u32>; // [rows, words of k bits]
@group(0) @binding(2) var<uniform> params: Params;

fn each(thread: u32) {
  let words = (params.k + 31u) >> 5u;
  let row = thread / words;
  if (row >= params.rows) { return; }
  let blocks_in_row = (params.k + params.width - 1u) / params.width;
  let blocks_before = row / params.band * ((blocks_in_row + 31u) >> 5u);
  let first = 32u * (thread % words);
  let end = min(first + 32u, params.k);
  var bits = 0u;
  var column = first;
  while (column < end) {
    let block = column / params.width;
    let next = min((block + 1u) * params.width, end);
    if (((blocks[blocks_before + (block >> 5u)] >> (block & 31u)) & 1u) == 1u) {
      bits |= (0xffffffffu >> (32u - (next - column))) << (column - first);
    }
    column = next;
  }
  mask[thread] = bits;
}
