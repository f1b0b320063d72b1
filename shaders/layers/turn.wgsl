// Rotations by a position times a frequency, exact in the position.
// #include "multiply_high.wgsl"

// Cosine and sine of `position` times a frequency in turns, given as a 64-bit fraction (x low, y high word). The product
// modulo one turn is taken in integers: its error is 2^-32 turns at any position. WGSL's own sin and cos may be off by
// 2^-11, so the polynomials of Cephes (Moshier) for an eighth of a turn to both sides stand in for them.
fn turn(position: u32, frequency: vec2<u32>) -> vec2<f32> {
  let turns = position * frequency.y + multiply_high(position, frequency.x);
  let quadrant = (turns + 0x20000000u) >> 30u;
  let x = f32(bitcast<i32>(turns - (quadrant << 30u))) * 1.4629180792671596e-9;
  let z = x * x;
  let s = x + x * z * ((-1.9515295891e-4 * z + 8.3321608736e-3) * z - 1.6666654611e-1);
  let c = 1.0 - 0.5 * z + z * z * ((2.443315711809948e-5 * z - 1.388731625493765e-3) * z + 4.166664568298827e-2);
  let swapped = select(vec2<f32>(c, s), vec2<f32>(s, c), (quadrant & 1u) == 1u);
  return vec2<f32>(
    select(swapped.x, -swapped.x, quadrant == 1u || quadrant == 2u),
    select(swapped.y, -swapped.y, quadrant >= 2u),
  );
}
