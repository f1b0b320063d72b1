// A few right-hand sides (1 to 4): LANES threads share two weight rows, and each takes every LANES-th piece of them. Another file adds their sums.
// Two rows a thread halve the loads of x; one token takes whole chunks of the format, so that words and scales are read once.
override ONE_TOKEN: bool = false;

// Sums of two rows, for up to four tokens.
struct Pair {
  even: vec4<f32>,
  odd: vec4<f32>,
}

fn plus(a: Pair, b: Pair) -> Pair {
  return Pair(a.even + b.even, a.odd + b.odd);
}

// What one of the threads that share `row` and the next has summed up.
fn sums_of_pair(lane: u32, row: u32) -> Pair {
  let last_row = params.rows - 1u;
  let even_row = min(row, last_row);
  let odd_row = min(row + 1u, last_row);
  let last_token = params.tokens - 1u;
  let t1 = min(1u, last_token);
  let t2 = min(2u, last_token);
  let t3 = min(3u, last_token);
  var even: mat4x4<f32>; // a column for each token
  var odd: mat4x4<f32>;
  if (ONE_TOKEN) {
    let whole = params.k / PIECE * PIECE;
    for (var k = lane * PIECE; k < whole; k += LANES * PIECE) {
      let even_piece = piece(even_row, k);
      let odd_piece = piece(odd_row, k);
      var even_part = vec4<f32>(0.0);
      var odd_part = vec4<f32>(0.0);
      for (var i = 0u; i < PIECE / 4u; i++) {
        let v = x4(0u, k + 4u * i);
        even_part += piece4(even_piece, i) * v;
        odd_part += piece4(odd_piece, i) * v;
      }
      even[0] += piece_scale(even_piece) * even_part;
      odd[0] += piece_scale(odd_piece) * odd_part;
    }
    // The columns behind the last whole piece.
    for (var k = whole + lane * 4u; k < params.k; k += LANES * 4u) {
      let v = x4(0u, k);
      even[0] += w4(even_row, k) * v;
      odd[0] += w4(odd_row, k) * v;
    }
  } else {
    for (var k = lane * 4u; k < params.k; k += LANES * 4u) {
      let even_weights = w4(even_row, k);
      let odd_weights = w4(odd_row, k);
      let v0 = x4(0u, k);
      let v1 = x4(t1, k);
      let v2 = x4(t2, k);
      let v3 = x4(t3, k);
      even[0] += even_weights * v0;
      even[1] += even_weights * v1;
      even[2] += even_weights * v2;
      even[3] += even_weights * v3;
      odd[0] += odd_weights * v0;
      odd[1] += odd_weights * v1;
      odd[2] += odd_weights * v2;
      odd[3] += odd_weights * v3;
    }
  }
  let one = vec4<f32>(1.0);
  return Pair(one * even, one * odd);
}

fn store_pair(row: u32, sums: Pair) {
  for (var i = 0u; i < 4u; i++) { store2(i, row, vec2<f32>(sums.even[i], sums.odd[i])); }
}
