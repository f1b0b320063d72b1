// Of each four weights of a row the two largest, of equal ones the first, and where they stood: chosen and packed in one pass. Rows are a multiple of 4. A thread has
// sixteen slots, those of a word of columns.
// #include "../common/each.wgsl"
// #include "../common/float16.wgsl"
// #include "../prune/load_aligned.wgsl"
// #include "../prune/keys.wgsl"
struct Params { rows: u32, k: u32, slots: u32 }

@group(0) @binding(2) var<storage, read_write> values: array<vec2<u32>>; // [rows, slots]
@group(0) @binding(3) var<storage, read_write> columns: array<u32>;      // [rows, slots / 16]
@group(0) @binding(4) var<uniform> params: Params;

override HALVES: bool = false; // values in f16, four in two words
override WHOLE: bool = false;  // rows are a multiple of 32: all slots are filled

fn report(row: u32, first: u32) {
  for (var i = 0u; i < 32u && first + i < params.k; i += 4u) { _ = magnitudes4(row, first + i); }
}

fn halves(pair: vec2<u32>) -> u32 {
  return f16_bits_saturated(pair.x) | (f16_bits_saturated(pair.y) << 16u);
}

fn each(thread: u32) {
  let words = params.slots >> 4u;
  let row = thread / words;
  if (row >= params.rows) { return; }
  let first = thread % words * 32u;
  var word = 0u;
  var largest = vec4<u32>(0u);
  // #repeat g 8
  var pair$g = vec2<u32>(0u);
  if (WHOLE || first + 4u * $gu < params.k) {
    let bits = bitcast<vec4<u32>>(load(row, first + 4u * $gu));
    let size = bits & vec4<u32>(0x7fffffffu);
    largest = max(largest, size);
    let key = weighted4(size, first + 4u * $gu);
    // Who is before whom; a weight that is before two others stays.
    let xy = key.x >= key.y;
    let xz = key.x >= key.z;
    let xw = key.x >= key.w;
    let yz = key.y >= key.z;
    let yw = key.y >= key.w;
    let zw = key.z >= key.w;
    let x = (xy & xz) | (xy & xw) | (xz & xw);
    let y = (!xy & yz) | (!xy & yw) | (yz & yw);
    let z = (!xz & !yz) | (!xz & zw) | (!yz & zw);
    let w = !(x & y) & !(x & z) & !(y & z);
    pair$g = vec2<u32>(
      select(select(bits.z, bits.y, y), bits.x, x),
      select(select(bits.y, bits.z, z), bits.w, w),
    );
    word |= (select(select(2u, 1u, y), 0u, x) | (select(select(1u, 2u, z), 3u, w) << 2u)) << (4u * $gu);
  }
  // #end
  if (any(largest >= vec4<u32>(INFINITY))) { report(row, first); }
  columns[thread] = word;
  if (HALVES) {
    let at = thread * 4u;
    values[at + 0u] = vec2<u32>(halves(pair0), halves(pair1));
    values[at + 1u] = vec2<u32>(halves(pair2), halves(pair3));
    values[at + 2u] = vec2<u32>(halves(pair4), halves(pair5));
    values[at + 3u] = vec2<u32>(halves(pair6), halves(pair7));
  } else {
    let at = thread * 8u;
    // #repeat g 8
    values[at + $gu] = pair$g;
    // #end
  }
}
