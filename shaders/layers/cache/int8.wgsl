// Keys and values in int8, a scale in f32 for 32 numbers of a head: the codes of a head, then its scales. By `encodeHead` in src/kernels/reference/cache.ts.
// #include "eight.wgsl"
// #include "../../common/divide.wgsl"
fn bytes4(word: u32) -> vec4<f32> {
  return vec4<f32>((vec4<i32>(bitcast<i32>(word)) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u));
}

fn byte_of(x: f32, scale: f32) -> u32 {
  return bitcast<u32>(i32(clamp(round(divide(x, scale)), -127.0, 127.0))) & 0xffu;
}

fn bytes_of(x: vec4<f32>, scale: f32) -> u32 {
  return byte_of(x.x, scale) | (byte_of(x.y, scale) << 8u) | (byte_of(x.z, scale) << 16u) | (byte_of(x.w, scale) << 24u);
}

fn head_words() -> u32 {
  return 2u * eights() + groups();
}

// #repeat c 2
@group(1) @binding($c) var<storage, read_write> cache$c: array<u32>;

fn cached$c(head: u32, i: u32) -> Eight {
  let start = head * head_words();
  let scale = bitcast<f32>(cache$c[start + 2u * eights() + (i >> 2u)]);
  return Eight(scale * bytes4(cache$c[start + 2u * i]), scale * bytes4(cache$c[start + 2u * i + 1u]));
}

fn keep$c(head: u32, group: u32, given: Group) {
  var values = given;
  let start = head * head_words();
  let words = 2u * min(eights() - 4u * group, 4u);
  var most = vec4<f32>(0.0);
  for (var i = 0u; i < words; i++) { most = max(most, abs(values[i])); }
  let largest = max(max(most.x, most.y), max(most.z, most.w));
  // Below, quotients would leave f32's range.
  let scale = select(divide(largest, 127.0), 0.0, largest < 0x1p-100);
  for (var i = 0u; i < words; i++) {
    cache$c[start + 8u * group + i] = select(bytes_of(values[i], max(scale, 0x1p-110)), 0u, scale == 0.0);
  }
  cache$c[start + 2u * eights() + group] = bitcast<u32>(scale);
}
// #end
