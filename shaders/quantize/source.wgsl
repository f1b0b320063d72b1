// What every quantizer shares: the source matrix, as one long row of `count` weights in a dense format (group 1), and
// the report of weights that are not finite.
struct Params { count: u32, k: u32 }

fn row_length() -> u32 { return params.count; }
fn columns() -> u32 { return params.k; }
fn place(row: u32, k: u32) -> vec2<u32> { return vec2<u32>(k / params.k, k % params.k); }

const INFINITY = 0x7f800000u;

// The bound for bit tests: on some drivers a comparison can't tell NaN.
fn finite4(w: vec4<f32>) -> bool {
  return all((bitcast<vec4<u32>>(w) & vec4<u32>(0x7fffffffu)) < vec4<u32>(INFINITY));
}

// Notes the first weight in first .. first + length - 1 that is not finite. `bad` keeps the largest complement of an
// index, so a zeroed buffer means that there was none.
fn report(first: u32, length: u32) {
  for (var i = first; i < end_of(first, length); i += 4u) {
    let bad4 = (bitcast<vec4<u32>>(load4_aligned(0u, i)) & vec4<u32>(0x7fffffffu)) >= vec4<u32>(INFINITY);
    if (any(bad4)) {
      atomicMax(&bad, ~(i + first_of(bad4)));
      return;
    }
  }
}

// first + length, in a form that no compiler can count with: unrolled, loops that hardly ever run take seconds to compile.
fn end_of(first: u32, length: u32) -> u32 {
  return min(first + length, params.count);
}

// Which of four is the first that holds; one of them does.
fn first_of(four: vec4<bool>) -> u32 {
  return select(select(select(3u, 2u, four.z), 1u, four.y), 0u, four.x);
}
