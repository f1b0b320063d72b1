// Operands for any k: what lies past the end of a row counts as 0.
@group(0) @binding(0) var<storage, read> x: array<f32>;

fn x4(token: u32, k: u32) -> vec4<f32> {
  let at = token * params.k + k;
  if (k + 4u <= params.k) { return vec4<f32>(x[at], x[at + 1u], x[at + 2u], x[at + 3u]); }
  var values = vec4<f32>(0.0);
  for (var i = 0u; i < 4u; i++) {
    if (k + i < params.k) { values[i] = x[at + i]; }
  }
  return values;
}

fn w4(row: u32, k: u32) -> vec4<f32> {
  return load4(stored_row(row), k);
}

const PIECE = 4u;
alias Piece = vec4<f32>;

fn piece(row: u32, k: u32) -> Piece {
  return load4(stored_row(row), k);
}

fn piece4(part: Piece, i: u32) -> vec4<f32> {
  return part;
}

fn piece_scale(part: Piece) -> f32 {
  return 1.0;
}
