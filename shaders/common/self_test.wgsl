// Asks the device how it computes. Inputs come from a buffer, so that no compiler can fold the answers.
@group(0) @binding(0) var<storage, read> given: array<u32>;
@group(0) @binding(1) var<storage, read_write> answers: array<u32>;

var<workgroup> sums: array<u32, 64>;

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32) {
  sums[lane] = given[lane];
  workgroupBarrier();
  for (var width = 32u; width > 0u; width >>= 1u) {
    if (lane < width) {
      sums[lane] += sums[lane + width];
    }
    workgroupBarrier();
  }
  if (lane != 0u) {
    return;
  }
  let f = 64u; // floats start here
  let third = bitcast<f32>(given[f]);
  let denormal = bitcast<f32>(given[f + 1u]);
  let nan = bitcast<f32>(given[f + 2u]);
  let half_up = bitcast<f32>(given[f + 3u]);
  let large = bitcast<f32>(given[f + 4u]);
  answers[0] = sums[0];
  answers[1] = bitcast<u32>(third * large + third);
  answers[2] = bitcast<u32>(third + large);
  answers[3] = bitcast<u32>(third * third);
  answers[4] = pack2x16float(vec2(half_up, third));
  answers[5] = bitcast<u32>(denormal * 1.0);
  answers[6] = select(0u, 1u, nan != nan);
  answers[7] = u32(round(bitcast<f32>(given[f + 5u])));
  answers[8] = bitcast<u32>(unpack2x16float(given[f + 6u]).x);
  answers[9] = bitcast<u32>(f32(given[f + 7u]));
}
