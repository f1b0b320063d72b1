// What every quantizer shares: the source matrix, as one long row of `count` weights in a dense format (group 1), and
// the report of weights that are not finite.
struct Params { count: u32 }

fn row_length() -> u32 { return params.count; }

const INFINITY = 0x7f800000u;

// The bound for bit tests: on some drivers a comparison can't tell NaN.
fn finite4(w: vec4<f32>) -> bool {
  return all((bitcast<vec4<u32>>(w) & vec4<u32>(0x7fffffffu)) < vec4<u32>(INFINITY));
}

// Notes the first weight in first .. first + length - 1 that is not finite. `bad` keeps the largest complement of an
// index, so a zeroed buffer means that there was none.
fn report(first: u32, length: u32) {
  for (var i = 0u; i < length; i += 4u) {
    let magnitude = bitcast<vec4<u32>>(load4_aligned(0u, first + i)) & vec4<u32>(0x7fffffffu);
    for (var j = 0u; j < 4u; j++) {
      if (magnitude[j] >= INFINITY) {
        atomicMax(&bad, ~(first + i + j));
        return;
      }
    }
  }
}
