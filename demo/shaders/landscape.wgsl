// Heights of a square of SIDE x SIDE columns over some weights, each over `step` x `step` of them: root mean squares before and after, the share that is
// gone, and the height before this update, from which the next one falls.
// #include "../../shaders/common/each.wgsl"
struct Params { rows: u32, k: u32, left: u32, top: u32, step: u32, side: u32, masked: u32, fresh: u32 }

@group(0) @binding(0) var<storage, read> before: array<f32>; // [rows, k]
@group(0) @binding(1) var<storage, read> after: array<f32>;  // [rows, k]
@group(0) @binding(2) var<storage, read> mask: array<u32>;   // [rows, words of k bits]
@group(0) @binding(3) var<storage, read_write> heights: array<vec4f>; // [side, side]: from, to, gone, before
@group(0) @binding(4) var<uniform> params: Params;

fn each(thread: u32) {
  if (thread >= params.side * params.side) { return; }
  let left = params.left + params.step * (thread % params.side);
  let top = params.top + params.step * (thread / params.side);
  let words = (params.k + 31u) / 32u;
  var squares = vec2f();
  var gone = 0.0;
  var count = 0.0;
  for (var row = top; row < min(top + params.step, params.rows); row++) {
    for (var column = left; column < min(left + params.step, params.k); column++) {
      let pair = vec2f(before[row * params.k + column], after[row * params.k + column]);
      squares += pair * pair;
      gone += f32(params.masked == 1u && ((mask[row * words + column / 32u] >> (column % 32u)) & 1u) == 0u);
      count += 1.0;
    }
  }
  // Outside of the matrix there is nothing: a height below zero is not drawn.
  if (count == 0.0) {
    heights[thread] = vec4f(-1.0, -1.0, 0.0, -1.0);
    return;
  }
  let now = sqrt(squares / count);
  let last = select(heights[thread].y, now.x, params.fresh == 1u);
  heights[thread] = vec4f(last, now.y, gone / count, now.x);
}
