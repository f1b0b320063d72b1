// A level of the pyramid from the one below it: a cell is 2 x 2 of its cells, weighed by the weights that each stands for. A thread makes a cell.
// #include "../../shaders/common/each.wgsl"
struct Params { rows: u32, k: u32, across: u32, down: u32, from_start: u32, from_across: u32, from_down: u32, to_start: u32, side: u32 }

@group(0) @binding(0) var<storage, read_write> cells: array<f32>;
@group(0) @binding(1) var<uniform> params: Params;

fn each(thread: u32) {
  if (thread >= params.across * params.down) { return; }
  let left = 2u * (thread % params.across);
  let top = 2u * (thread / params.across);
  var sums = array<f32, 6>();
  var total = 0.0;
  for (var row = top; row < min(top + 2u, params.from_down); row++) {
    for (var column = left; column < min(left + 2u, params.from_across); column++) {
      let wide = min(params.k - column * params.side, params.side);
      let high = min(params.rows - row * params.side, params.side);
      let weights = f32(wide) * f32(high);
      let at = 6u * (params.from_start + row * params.from_across + column);
      for (var i = 0u; i < 6u; i++) { sums[i] += weights * cells[at + i]; }
      total += weights;
    }
  }
  let to = 6u * (params.to_start + thread);
  for (var i = 0u; i < 6u; i++) { cells[to + i] = sums[i] / total; }
}
