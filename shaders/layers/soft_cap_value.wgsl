// cap * tanh(x / cap), relatively exact to a few units. WGSL's own tanh need only be right to 2^-11. Near 0 the polynomial of
// Cephes (Moshier) stands for tanh, elsewhere (1 - e) / (1 + e) with e = exp(-2|x|) does; beyond 20 it is 1 in f32.
fn soft_cap(x: vec4<f32>, cap: f32) -> vec4<f32> {
  let y = clamp(x / cap, vec4<f32>(-20.0), vec4<f32>(20.0));
  let z = y * y;
  let near = y + y * z * ((((-5.70498872745e-3 * z + 2.06390887954e-2) * z - 5.37397155531e-2) * z + 1.33314422036e-1) * z -
    3.33332819422e-1);
  let e = exp(-2.0 * abs(y));
  let far = sign(y) * (1.0 - e) / (1.0 + e);
  return cap * select(far, near, abs(y) < vec4<f32>(0.625));
}
