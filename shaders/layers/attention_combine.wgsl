// Joins the shares of attention_split.wgsl: [rows, splits, 2 + head_dim] to [rows, head_dim], rows being tokens times heads. A number a thread.
// #include "../common/each.wgsl"
// #include "exp_negative.wgsl"
@group(0) @binding(0) var<storage, read> shares: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

struct Params { rows: u32, head_dim: u32, splits: u32 }

fn each(i: u32) {
  let row = i / params.head_dim;
  if (row >= params.rows) { return; }
  let step = params.head_dim + 2u;
  let start = row * params.splits * step;
  var largest = -LARGEST;
  for (var s = 0u; s < params.splits; s++) { largest = max(largest, shares[start + s * step]); }
  var total = 0.0;
  var sum = 0.0;
  for (var s = 0u; s < params.splits; s++) {
    let at = start + s * step;
    let weight = exp_negative(shares[at] - largest);
    total += weight * shares[at + 1u];
    sum += weight * shares[at + 2u + i % params.head_dim];
  }
  out[i] = sum / total;
}
