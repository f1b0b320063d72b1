// Weights of squared errors, from the importance of columns, for the VECTORS vectors of weights at hand (gainsOf in
// src/formats/scale-search.ts). The kernel declares importance: array<vec4<f32>>, of which nothing is read unless WEIGHTED.
override WEIGHTED: bool = false;

var<private> gain: array<vec4<f32>, VECTORS>;
// Whether any of the weights at hand counts.
var<private> counted: bool;

fn weighted() -> bool {
  return WEIGHTED && counted;
}

// v times the gains of vector i.
fn weigh(v: vec4<f32>, i: u32) -> vec4<f32> {
  if (WEIGHTED) { return v * gain[i]; }
  return v;
}

// The largest gain lies in [1, 4); all are 1 where none counts.
fn load_gains(first: u32) {
  if (!WEIGHTED) { return; }
  let column = (first % columns()) >> 2u;
  var largest = vec4<u32>(0u);
  for (var i = 0u; i < VECTORS; i++) {
    gain[i] = importance[column + i];
    largest = max(largest, bitcast<vec4<u32>>(gain[i]));
  }
  let magnitude = max(max(largest.x, largest.y), max(largest.z, largest.w));
  counted = magnitude >= 0x800000u;
  let inverse = bitcast<f32>((254u - min(magnitude >> 23u, 253u)) << 23u);
  for (var i = 0u; i < VECTORS; i++) { gain[i] = select(vec4<f32>(1.0), gain[i] * inverse, counted); }
}
