// Keys and values in f16, by our own integer code: the bits are the same on all devices, and none needs f16 arithmetic.
// #include "eight.wgsl"
// #include "../../common/float16.wgsl"
fn halves(words: vec4<u32>) -> Eight {
  let low = vec4<u32>(words.x & 0xffffu, words.x >> 16u, words.y & 0xffffu, words.y >> 16u);
  let high = vec4<u32>(words.z & 0xffffu, words.z >> 16u, words.w & 0xffffu, words.w >> 16u);
  return Eight(f16_value4(low), f16_value4(high));
}

fn half_pair(a: f32, b: f32) -> u32 {
  return f16_bits_saturated(bitcast<u32>(a)) | (f16_bits_saturated(bitcast<u32>(b)) << 16u);
}

// #repeat c 2
@group(1) @binding($c) var<storage, read_write> cache$c: array<vec4<u32>>;

fn cached$c(head: u32, i: u32) -> Eight {
  return halves(cache$c[head * eights() + i]);
}

fn keep$c(head: u32, group: u32, given: Group) {
  var values = given;
  let at = head * eights() + 4u * group;
  for (var i = 0u; i < min(eights() - 4u * group, 4u); i++) {
    let low = values[2u * i];
    let high = values[2u * i + 1u];
    cache$c[at + i] = vec4<u32>(half_pair(low.x, low.y), half_pair(low.z, low.w), half_pair(high.x, high.y), half_pair(high.z, high.w));
  }
}
// #end
