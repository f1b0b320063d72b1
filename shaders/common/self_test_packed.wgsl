// Asks the device for four products of int8 in one instruction: by itself, since a device that lacks the language feature does not compile it.
@group(0) @binding(0) var<storage, read> given: array<u32>;
@group(0) @binding(1) var<storage, read_write> answers: array<i32>;

@compute @workgroup_size(1)
fn main() {
  answers[0] = dot4I8Packed(given[0], given[1]);
  answers[1] = dot4I8Packed(given[2], given[3]);
}
