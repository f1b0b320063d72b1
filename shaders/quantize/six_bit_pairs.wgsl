// Eight pairs of six bits in three words.
fn write_scale(index: u32, j: u32, scale: u32, minimum: u32) {
  let first = 3u * index;
  let shift = 8u * (j & 3u);
  if (j < 4u) {
    scales[first] |= scale << shift;
    scales[first + 1u] |= minimum << shift;
  } else {
    scales[first + 2u] |= ((scale & 15u) | ((minimum & 15u) << 4u)) << shift;
    scales[first] |= ((scale >> 4u) << 6u) << shift;
    scales[first + 1u] |= ((minimum >> 4u) << 6u) << shift;
  }
}
