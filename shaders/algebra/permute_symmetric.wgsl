// out[i, j] = h[order[i], order[j]], with `damping` added on the diagonal.
// #include "../common/each.wgsl"
struct Params { n: u32, width: u32, damping: f32 }

@group(0) @binding(0) var<storage, read> h: array<f32>;       // [width, width]
@group(0) @binding(1) var<storage, read> order: array<u32>;   // [n], below width
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

fn each(at: u32) {
  let n = params.n;
  if (at >= n * n) { return; }
  let row = at / n;
  let column = at % n;
  out[at] = h[order[row] * params.width + order[column]] + select(0.0, params.damping, row == column);
}
