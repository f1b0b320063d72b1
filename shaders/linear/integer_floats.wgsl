// Products of int8 in f32, which is exact: 1024 of them, each at most 2^14 less a little, stay below 2^24 in whatever order they are added.
// For devices without packed integers, and those that multiply floats faster.
alias Right = vec4<f32>;
alias Left = mat4x4<f32>;
alias Sums = vec4<f32>;

fn floats_of(word: u32) -> vec4<f32> {
  return vec4<f32>((vec4<i32>(bitcast<i32>(word)) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u));
}

fn right(codes: u32) -> Right {
  return floats_of(codes);
}

fn left(words: vec4<u32>) -> Left {
  return mat4x4<f32>(floats_of(words.x), floats_of(words.y), floats_of(words.z), floats_of(words.w));
}

fn plus(sums: Sums, x: Right, w: Left) -> Sums {
  return sums + x * w;
}

fn whole(sums: Sums) -> vec4<i32> {
  return vec4<i32>(sums);
}
