// The finest level of the pyramid: a cell is 4 x 4 weights, fewer at the edges. A thread makes a cell.
// #include "../../shaders/common/each.wgsl"
// #include "cell.wgsl"
struct Params { rows: u32, k: u32, across: u32, down: u32, masked: u32 }

@group(0) @binding(0) var<storage, read> before: array<f32>; // [rows, k]
@group(0) @binding(1) var<storage, read> after: array<f32>;  // [rows, k]
@group(0) @binding(2) var<storage, read> mask: array<u32>;   // [rows, words of k bits]
@group(0) @binding(3) var<storage, read_write> cells: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

fn each(thread: u32) {
  if (thread >= params.across * params.down) { return; }
  let left = 4u * (thread % params.across);
  let top = 4u * (thread / params.across);
  let words = (params.k + 31u) / 32u;
  var cell = Cell();
  var count = 0.0;
  for (var row = top; row < min(top + 4u, params.rows); row++) {
    for (var column = left; column < min(left + 4u, params.k); column++) {
      let a = before[row * params.k + column];
      let b = after[row * params.k + column];
      let gone = params.masked == 1u && ((mask[row * words + column / 32u] >> (column % 32u)) & 1u) == 0u;
      cell.means += vec2f(a, b);
      cell.squares += vec3f(a * a, b * b, (a - b) * (a - b));
      cell.gone += f32(gone);
      count += 1.0;
    }
  }
  store_cell(thread, Cell(cell.means / count, cell.squares / count, cell.gone / count));
}

fn store_cell(at: u32, cell: Cell) {
  cells[6u * at] = cell.means.x;
  cells[6u * at + 1u] = cell.means.y;
  cells[6u * at + 2u] = cell.squares.x;
  cells[6u * at + 3u] = cell.squares.y;
  cells[6u * at + 4u] = cell.squares.z;
  cells[6u * at + 5u] = cell.gone;
}
