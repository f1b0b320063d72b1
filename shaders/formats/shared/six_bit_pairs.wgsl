// Eight pairs of six bits in twelve bytes (get_scale_min_k4 in ggml): the multiples of d and dmin of sub-blocks of 32.
@group(1) @binding(2) var<storage, read> weight_scales: array<u32>;

fn pair_of(at: u32) -> vec2<u32> {
  let first = 3u * (at >> 8u);
  let shift = 8u * ((at >> 5u) & 3u);
  let words = vec3<u32>(weight_scales[first], weight_scales[first + 1u], weight_scales[first + 2u]) >> vec3<u32>(shift);
  let low = words.xy & vec2<u32>(63u);
  let high = ((words.zz >> vec2<u32>(0u, 4u)) & vec2<u32>(15u)) | (((words.xy >> vec2<u32>(6u)) & vec2<u32>(3u)) << vec2<u32>(4u));
  return select(low, high, (at & 128u) != 0u);
}
