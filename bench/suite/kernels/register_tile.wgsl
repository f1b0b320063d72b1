// y = x Wᵀ in f32 by the plainest tile: a thread owns 8 rows x 8 tokens in registers, reads what it multiplies straight from memory, and shares nothing with its
// neighbours. What the engine's dense product has to beat. rows and tokens are multiples of 64, k one of 4.
struct Params {
  rows: u32,
  k: u32,
  tokens: u32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> w: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> params: Params;

struct Eight {
  low: vec4<f32>,
  high: vec4<f32>,
}

fn plus(sum: Eight, x4: vec4<f32>, low: mat4x4<f32>, high: mat4x4<f32>) -> Eight {
  return Eight(sum.low + x4 * low, sum.high + x4 * high);
}

fn store(at: u32, values: Eight) {
  y[at] = values.low;
  y[at + 1u] = values.high;
}

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let row = id.x * 8u;
  let token = id.y * 8u;
  let words = params.k / 4u;
  var a0 = Eight();
  var a1 = Eight();
  var a2 = Eight();
  var a3 = Eight();
  var a4 = Eight();
  var a5 = Eight();
  var a6 = Eight();
  var a7 = Eight();
  for (var i = 0u; i < words; i++) {
    let r = row * words + i;
    let low = mat4x4(w[r], w[r + words], w[r + 2u * words], w[r + 3u * words]);
    let high = mat4x4(w[r + 4u * words], w[r + 5u * words], w[r + 6u * words], w[r + 7u * words]);
    let t = token * words + i;
    a0 = plus(a0, x[t], low, high);
    a1 = plus(a1, x[t + words], low, high);
    a2 = plus(a2, x[t + 2u * words], low, high);
    a3 = plus(a3, x[t + 3u * words], low, high);
    a4 = plus(a4, x[t + 4u * words], low, high);
    a5 = plus(a5, x[t + 5u * words], low, high);
    a6 = plus(a6, x[t + 6u * words], low, high);
    a7 = plus(a7, x[t + 7u * words], low, high);
  }
  let width = params.rows / 4u;
  let at = token * width + row / 4u;
  store(at, a0);
  store(at + width, a1);
  store(at + 2u * width, a2);
  store(at + 3u * width, a3);
  store(at + 4u * width, a4);
  store(at + 5u * width, a5);
  store(at + 6u * width, a6);
  store(at + 7u * width, a7);
}
