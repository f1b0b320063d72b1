// Four products of int8 in one instruction, where the device has it.
alias Right = u32;
alias Left = vec4<u32>;
alias Sums = vec4<i32>;

fn right(codes: u32) -> Right {
  return codes;
}

fn left(words: vec4<u32>) -> Left {
  return words;
}

fn plus(sums: Sums, x: Right, w: Left) -> Sums {
  return sums + vec4<i32>(dot4I8Packed(x, w.x), dot4I8Packed(x, w.y), dot4I8Packed(x, w.z), dot4I8Packed(x, w.w));
}

fn whole(sums: Sums) -> vec4<i32> {
  return sums;
}
