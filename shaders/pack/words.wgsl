// A thread owns WEIGHTS weights; the layout defines fn pack_word(index: u32), which writes their codes.
// #include "../common/each.wgsl"

fn each(index: u32) {
  if (WEIGHTS * index < params.count) { pack_word(index); }
}
